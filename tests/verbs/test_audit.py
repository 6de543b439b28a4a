"""The audit: every defect that is planted is found and named, and sound data is left in peace."""

from __future__ import annotations

import io
import json
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

import shendu
from shendu import cli
from shendu.data import checks
from shendu.data.audit import duplicates, screens, suspects
from shendu.data.audit.screens import Feature
from shendu.data.column import Column
from shendu.data.fields.image import Image
from shendu.data.fields.row import Row
from shendu.errors import UserError
from shendu.verbs.audit import Audit

RNG = np.random.default_rng(7)


def kinds(found: Audit) -> set[str]:
    return {each.kind for each in found.findings}


def texts(found: Audit, kind: str) -> list[str]:
    """What is said of a kind of finding: its line, then its examples."""
    return [text for f in found.findings if f.kind == kind for text in (f.what, *(e.text for e in f.examples))]


def numbers(rows: int = 400) -> dict[str, Any]:
    """Two overlapping classes of four numbers: nothing is wrong with them."""
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, rows)
    return {"x": (rng.normal(size=(rows, 4)) + 0.8 * y[:, None]).astype(np.float32), "y": y}


def clouds(count: int, side: int = 48, seed: int = 0) -> list[Pillow.Image]:
    """Smooth pictures of many colours, all different."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    return [Pillow.fromarray(each).resize((side, side), Pillow.Resampling.BICUBIC) for each in coarse]


def folders(root: Path, pictures: list[Pillow.Image], classes: tuple[str, ...] = ("cat", "dog")) -> Path:
    for i, picture in enumerate(pictures):
        folder = root / classes[i % len(classes)]
        folder.mkdir(parents=True, exist_ok=True)
        picture.save(folder / f"{i:03}.png")
    return root


def write(path: Path, lines: list[str], encoding: str = "utf-8") -> Path:
    path.write_bytes("\n".join(lines).encode(encoding) + b"\n")
    return path


def people(rows: int = 200, **more: Any) -> list[str]:
    """A table without defects; `more` gives further columns, each a list of cells."""
    rng = np.random.default_rng(3)
    age, town = rng.uniform(18, 80, rows).round(4), rng.choice(["Rome", "Oslo", "Lima"], rows)
    label = np.where(rng.random(rows) < 1 / (1 + np.exp((50 - age) / 10)), "yes", "no")
    body = zip(age, town, *more.values(), label, strict=True)
    return [",".join(["age", "town", *more, "target"]), *(",".join(map(str, cells)) for cells in body)]


# ---- sound data ------------------------------------------------------------------------------------------------------


def test_sound_data_has_no_findings(tmp_path: Path) -> None:
    assert shendu.audit(numbers()).findings == ()
    assert shendu.audit(folders(tmp_path / "p", clouds(60))).findings == ()
    assert shendu.audit(write(tmp_path / "people.csv", people())).findings == ()


def test_the_digits_are_sound() -> None:
    found = shendu.audit("digits")
    assert kinds(found) <= {"suspicious labels"}
    assert {f.severity for f in found.findings} <= {"note"}
    assert sum(f.count for f in found.findings) <= 3


@pytest.mark.parametrize("gate", ["and", "xor"])
def test_four_rows_are_no_reason_to_fail(gate: str) -> None:
    assert kinds(shendu.audit(gate)) <= {"few rows", "rare classes"}


# ---- copies ----------------------------------------------------------------------------------------------------------


def test_copies_within_and_across_parts_and_contradictions() -> None:
    given = numbers()
    x, y = given["x"], given["y"]
    x[7], y[7] = x[3], y[3]
    x[9], y[9] = x[5], 1 - y[5]
    split = {"x_train": x[:300], "y_train": y[:300], "x_test": x[300:], "y_test": y[300:]}
    split["x_test"][2], split["y_test"][2] = x[11], y[11]
    found = shendu.audit(split)
    assert kinds(found) == {"copies", "copies across parts", "contradictions"}
    assert texts(found, "copies")[1:] == ["train row 3 = train row 7"]
    assert texts(found, "copies across parts")[1:] == ["train row 11 = test row 2"]
    assert texts(found, "contradictions")[1].startswith("train row 5 = train row 9 (")


def test_rows_of_few_values_repeat_without_fault() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 4, (300, 3)).astype(np.float32), rng.integers(0, 2, 300)
    found = shendu.audit({"x": x, "y": y})
    assert kinds(found) == {"repeated rows"}
    assert {f.severity for f in found.findings} == {"note"}
    pairs = sum((x[i] == x[j]).all() for i in range(300) for j in range(i))
    assert screens.coincidences([Feature(str(i), x[:, i]) for i in range(3)], 300) == pytest.approx(pairs, rel=0.1)
    twice = numbers()
    doubled = {"x": np.concatenate([twice["x"], twice["x"]]), "y": np.concatenate([twice["y"], twice["y"]])}
    assert texts(shendu.audit(doubled), "copies")[0] == "400 rows that are in the same part before"


def test_same_agrees_with_comparing_every_row_with_every_other() -> None:
    rows = RNG.integers(0, 2, (300, 6)).astype(np.float32)
    rows[rows == 0] = np.where(RNG.random((rows == 0).sum()) < 0.5, -0.0, np.nan)
    parts = [rows[:200], rows[200:]]
    plain = np.where(np.isnan(rows), 2.0, np.abs(rows))
    first = [next(j for j in range(len(plain)) if (plain[j] == row).all()) for row in plain]
    assert duplicates.same(parts).tolist() == first


def test_rows_of_one_digest_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_digests", lambda rows: np.zeros(len(rows), np.uint64))
    rows = np.array([[1, 2], [3, 4], [1, 2], [3, 5]], np.uint8)
    assert duplicates.same([rows[:3], rows[3:]]).tolist() == [0, 1, 0, 3]


@pytest.mark.parametrize("side", [48, 40], ids=["same size", "smaller"])
def test_a_picture_saved_again_is_a_near_copy(tmp_path: Path, side: int) -> None:
    pictures = clouds(80)
    folders(tmp_path / "data" / "train", pictures[:60])
    folders(tmp_path / "data" / "test", pictures[60:])
    pictures[3].resize((side, side)).save(tmp_path / "data" / "test" / "dog" / "again.jpg", quality=75)
    pictures[8].save(tmp_path / "data" / "train" / "cat" / "again.jpg", quality=60)
    found = shendu.audit(tmp_path / "data")
    assert kinds(found) == {"near copies", "near copies across parts"}
    assert texts(found, "near copies")[1:] == ["train/cat/008.png ≈ train/cat/again.jpg"]
    assert texts(found, "near copies across parts")[1:] == ["train/dog/003.png ≈ test/dog/again.jpg"]


def test_near_copies_on_a_flat_background() -> None:
    """Where signs of differences are decided by noise: digits on white, each saved again as a JPEG."""
    digits = shendu.open_data("digits").splits["train"].column("image")[:200, ..., 0]
    large = [Pillow.fromarray(255 - d).resize((32, 32), Pillow.Resampling.BICUBIC) for d in digits]
    again = []
    for picture in large[:20]:
        packed = io.BytesIO()
        picture.save(packed, "jpeg", quality=85)
        again.append(Pillow.open(packed))
    stacked = np.stack([np.asarray(p) for p in [*large, *again]])[..., None]
    seen = Image(height=32, width=32, channels=1).areas({"": stacked}, duplicates.SIDE)
    pairs = set(map(tuple, duplicates.near(seen).tolist()))
    wanted = {(i, 200 + i) for i in range(20)}
    assert wanted <= pairs
    assert len(pairs - wanted) <= 2


def test_pictures_of_one_colour(tmp_path: Path) -> None:
    pictures = clouds(60)
    pictures[4] = Pillow.new("RGB", (48, 48), "gray")
    found = shendu.audit(folders(tmp_path, pictures))
    assert kinds(found) == {"blank"}
    assert texts(found, "blank") == ["1 picture of one colour", "cat/004.png"]


# ---- files -----------------------------------------------------------------------------------------------------------


def test_unreadable_files_are_named_with_the_reason(tmp_path: Path) -> None:
    folders(tmp_path, clouds(60))
    whole = (tmp_path / "cat" / "000.png").read_bytes()
    (tmp_path / "cat" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "dog" / "empty.jpg").write_bytes(b"")
    (tmp_path / "dog" / "text.jpg").write_text("no picture")
    for i in range(8):
        (tmp_path / "dog" / f"empty{i}.png").write_bytes(b"")
    found = shendu.audit(tmp_path)
    assert kinds(found) == {"unreadable"}
    line, *files = texts(found, "unreadable")
    assert line == "11 files cannot be read"
    assert files[0].startswith("cat/cut.png: ")
    assert "dog/empty.jpg: an empty file" in files
    assert "dog/text.jpg: not a picture" in files
    assert len(files) == 11


def test_a_folder_around_everything_is_left_out_of_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders(tmp_path / "all" / "mine", clouds(60))
    asked = []
    monkeypatch.setattr(checks.files, "_around", lambda names: asked.append(len(names)) or "mine/")
    assert shendu.audit(tmp_path / "all").subject.name(1) == "cat/002.png"
    assert asked == [60]  # once, not for every file
    monkeypatch.undo()
    assert shendu.audit(tmp_path / "all").subject.name(1) == "cat/002.png"


# ---- tables ----------------------------------------------------------------------------------------------------------


def test_mixed_types_spelling_and_garbled_signs(tmp_path: Path) -> None:
    mixed = [str(v) for v in RNG.integers(0, 1000, 200)]
    mixed[5], mixed[9], mixed[11] = "n.k.", "n.k.", "many"
    spelled = RNG.choice(["Blue", "red"], 200).tolist()
    spelled[3], spelled[6] = "blue", "BLUE"
    garbled = RNG.choice(["Köln", "Bern"], 200).tolist()
    garbled[0] = garbled[1] = "KÃ¶ln"
    found = shendu.audit(write(tmp_path / "t.csv", people(amount=mixed, colour=spelled, city=garbled)))
    assert kinds(found) == {"mixed types", "spelling", "encoding", "missing"}
    assert texts(found, "mixed types") == [
        "column amount: 197 numbers and 3 words among them", "'n.k.' 2 times", "'many' 1 times",
    ]  # fmt: skip
    assert texts(found, "spelling")[0] == "column colour: values that differ only in how they are written"
    assert {w.strip("'") for w in texts(found, "spelling")[1].split(", ")} == {"Blue", "blue", "BLUE"}
    assert texts(found, "encoding") == ["column city: garbled signs in 1 values", "KÃ¶ln"]


def test_constants_ids_and_empty_columns(tmp_path: Path) -> None:
    lines = people(customer_id=list(range(1000, 1200)), unit=["m"] * 200, remark=[""] * 200)
    found = shendu.audit(write(tmp_path / "t.csv", lines))
    assert kinds(found) == {"constant", "id", "missing"}
    assert texts(found, "constant") == ["1 column of one value: unit"]
    assert texts(found, "id") == ["1 column whose values all differ: customer_id"]
    assert texts(found, "missing") == ["1 column without any value: remark"]


def test_another_encoding_and_ragged_rows(tmp_path: Path) -> None:
    lines = people(place=["Zürich", "Genève"] * 100)
    lines[20] += ",surplus"
    found = shendu.audit(write(tmp_path / "t.csv", lines, "cp1252"))
    assert kinds(found) == {"encoding", "ragged"}
    assert texts(found, "encoding") == ["t.csv is no UTF-8 and is read as cp1252"]
    assert texts(found, "ragged") == ["1 row of t.csv with too few or too many cells"]


def test_missing_values_and_outliers(tmp_path: Path) -> None:
    height = [f"{v:.1f}" for v in RNG.normal(170, 8, 200)]
    height[17] = "17000"
    income = ["" if i % 4 else f"{v:.0f}" for i, v in enumerate(np.exp(RNG.normal(10, 1, 200)))]
    found = shendu.audit(write(tmp_path / "t.csv", people(height=height, income=income)))
    assert kinds(found) == {"missing", "outliers"}
    assert texts(found, "missing") == ["1 column with missing values", "income: 75.0% missing"]
    line, example = texts(found, "outliers")
    assert example.startswith("height = 17000 in train row 17 (nine tenths lie in 15")


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e9])
def test_long_tails_are_no_outliers(scale: float) -> None:
    rng = np.random.default_rng(0)
    for values in (rng.normal(size=5000), np.exp(rng.normal(size=5000)), rng.exponential(size=5000), rng.random(5000)):
        assert len(screens.far_out((scale * values).astype(np.float32))) == 0
    values = rng.normal(size=5000).astype(np.float32)
    values[[3, 9]] = [60, -80]
    assert screens.far_out(scale * values).tolist() == [3, 9]


# ---- leaks -----------------------------------------------------------------------------------------------------------


def test_columns_that_give_the_target_away(tmp_path: Path) -> None:
    lines = people()
    label = [line.rsplit(",", 1)[1] for line in lines[1:]]
    copied = ["paid" if word == "yes" else "open" for word in label]
    rank = [f"{(i % 50) + (100 if word == 'yes' else 0)}.5" for i, word in enumerate(label)]
    near = [("p" if word == "yes" else "q") if i % 12 else "r" for i, word in enumerate(label)]
    found = shendu.audit(write(tmp_path / "t.csv", people(state=copied, rank=rank, near=near)))
    assert kinds(found) == {"leak"}
    line, *examples = texts(found, "leak")
    assert line == "2 columns that give the target away"
    assert [example.split()[0] for example in examples] == ["state", "rank"]


def test_a_usual_class_is_no_leak() -> None:
    rng = np.random.default_rng(2)
    y = (np.arange(2000) % 200 == 0).astype(int)
    found = shendu.audit({"x": rng.normal(size=(2000, 3)).astype(np.float32), "y": y})
    assert kinds(found) == {"imbalance"}


def test_leaks_of_a_number() -> None:
    rng = np.random.default_rng(2)
    y = rng.normal(size=500).astype(np.float32)
    x = np.stack([rng.normal(size=500), 3 - 2 * y, y + rng.normal(size=500), np.round(y, 1)], 1)
    found = shendu.audit({"x": x.astype(np.float32), "y": y})
    assert kinds(found) == {"leak"}
    assert [example.split()[0] for example in texts(found, "leak")[1:]] == ["x[1]", "x[3]"]


def test_foretelling_agrees_with_counting() -> None:
    rng = np.random.default_rng(5)
    codes, labels, learn = rng.integers(0, 6, 200), rng.integers(0, 3, 200), rng.random(200) < 0.5
    labels[codes == 2] = 1
    usual = np.bincount(labels[learn]).argmax()
    guess = {c: np.bincount(labels[learn & (codes == c)]).argmax() for c in set(codes[learn])}
    right = [guess.get(c, usual) == label for c, label in zip(codes[~learn], labels[~learn], strict=True)]
    share, base = screens.foretells_class(codes, labels, learn)
    assert share == pytest.approx(np.mean(right))
    assert base == pytest.approx(np.mean(labels[~learn] == usual))


def test_row_numbers_are_named() -> None:
    given = numbers()
    given["x"][:, 2] = RNG.permutation(400) + 1000
    assert texts(shendu.audit(given), "id") == ["1 column that number the rows: x[2]"]


def test_a_row_is_taken_apart_into_numbers_codes_and_words() -> None:
    columns = (
        Column(name="age", kind="number"),
        Column(name="remark", kind="text", names=("good", "bad"), length=3),
        Column(name="town", kind="category", names=("Rome", "Oslo")),
    )
    field, rows = Row(columns=columns), np.arange(10, dtype=np.float32).reshape(2, 5)
    assert [(name, values.tolist(), names) for name, values, names in field.features("row", {"": rows})] == [
        ("age", [0, 5], ()),
        ("town", [4, 9], ("Rome", "Oslo")),
    ]
    assert field.feature_count == 3
    numbers, ((codes, many),), (words,) = field.taken_apart(torch.from_numpy(rows))
    assert (numbers.tolist(), codes.tolist(), many) == ([[0], [5]], [4, 9], 4)
    assert words.tolist() == [[1, 2, 3], [6, 7, 8]]


# ---- classes and parts -----------------------------------------------------------------------------------------------


def test_rare_uneven_and_foreign_classes() -> None:
    rng = np.random.default_rng(0)
    y = np.array(["a"] * 200 + ["b"] * 60 + ["c"] * 3)
    x = rng.normal(size=(263, 2)).astype(np.float32)
    test = np.array(["a"] * 30 + ["b"] * 10)
    found = shendu.audit(
        {"x_train": x, "y_train": y, "x_test": rng.normal(size=(40, 2)).astype(np.float32), "y_test": test}
    )
    assert kinds(found) == {"rare classes", "imbalance", "class"}
    assert texts(found, "rare classes") == ["fewer than 5 training rows of 1 class (c)", "c: 3"]
    assert texts(found, "imbalance") == ["a has 67 times the training rows of c (200 and 3)"]
    assert texts(found, "class") == ["the test part has no row of 1 class (c)"]


def test_parts_that_differ() -> None:
    given, rng = numbers(600), np.random.default_rng(4)
    x, y = given["x"], given["y"]
    x[400:, 1] += 1.0
    found = shendu.audit({"x_train": x[:400], "y_train": y[:400], "x_test": x[400:], "y_test": y[400:]})
    assert texts(found, "drift")[0] == "the test part differs from train in x[1]"
    later = rng.permutation(400)[:200]
    found = shendu.audit({"x_train": x[:400], "y_train": y[:400], "x_test": x[later] + 1e-4, "y_test": y[later]})
    assert "drift" not in kinds(found)


def test_the_two_sample_tests_against_their_definitions() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=80), np.round(rng.normal(0.3, 1, size=50), 1)
    distance, chance = screens.moved(one, np.append(other, np.nan))
    at = np.concatenate([one, other])
    assert distance == pytest.approx(max(abs((one <= v).mean() - (other <= v).mean()) for v in at))
    assert 0 <= chance <= 1
    a, b = rng.integers(0, 4, 90), rng.integers(0, 4, 70)
    distance, _ = screens.reweighed(a, b)
    assert distance == pytest.approx(sum(abs((a == k).mean() - (b == k).mean()) for k in range(4)) / 2)
    alarms = [screens.moved(rng.normal(size=200), rng.normal(size=100))[1] < 0.01 for _ in range(300)]
    alarms += [screens.reweighed(rng.integers(0, 5, 200), rng.integers(0, 5, 100))[1] < 0.01 for _ in range(300)]
    assert np.mean(alarms) < 0.02


# ---- labels ----------------------------------------------------------------------------------------------------------


def test_flipped_labels_of_digits_are_found() -> None:
    rng = np.random.default_rng(0)
    columns = shendu.open_data("digits").splits["train"].columns
    y = columns["label"].copy()
    flipped = rng.permutation(len(y))[: round(0.05 * len(y))]
    y[flipped] = (y[flipped] + rng.integers(1, 10, len(flipped))) % 10
    found = shendu.audit({"x": columns["image"], "y": y})
    (finding,) = found.findings
    assert (finding.severity, finding.kind) == ("warning", "suspicious labels")
    listed = {row for e in finding.examples for row in e.rows}
    assert len(listed) == 20
    assert listed <= set(flipped.tolist())
    x = suspects.features(found.subject.input, columns["image"])
    labels = torch.from_numpy(y)
    hot = torch.nn.functional.one_hot(labels).float()
    fold = suspects.folds(labels, torch.arange(len(y)))
    shares = suspects.probabilities(suspects.out_of_fold(x, hot - 0.1, fold), labels)
    rows = set(suspects.suspicious(shares, labels)[0].tolist())
    hits = len(rows & set(flipped.tolist()))
    assert hits / len(rows) >= 0.95  # precision
    assert hits / len(flipped) >= 0.75  # recall


def test_flipped_labels_of_a_table_are_found(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kind, size = rng.integers(0, 3, 600), rng.normal(size=600)
    label = (kind + (size > 0)) % 2
    flipped = rng.permutation(600)[:30]
    shown = label.copy()
    shown[flipped] = 1 - shown[flipped]
    lines = ["kind,size,target", *(f"{'abc'[k]},{s:.3f},{'ny'[v]}" for k, s, v in zip(kind, size, shown, strict=True))]
    found = shendu.audit(write(tmp_path / "t.csv", lines))
    (finding,) = [f for f in found.findings if f.kind == "suspicious labels"]
    rows = [row for e in finding.examples for row in e.rows]
    assert len(set(rows) & set(flipped.tolist())) >= 0.9 * len(rows)


def test_out_of_fold_scores_are_those_of_separate_fits() -> None:
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(60, 5, generator=draw), torch.randn(60, 2, generator=draw)
    fold = torch.arange(60) % suspects.FOLDS
    scores = suspects.out_of_fold(x, y, fold)
    standard = torch.cat([(x - x.mean(0)) / x.std(0, correction=0), torch.ones(60, 1)], 1).double()
    errors = []
    for ridge in suspects.RIDGES:
        plain = torch.zeros(60, 2).double()
        for k in range(suspects.FOLDS):
            a, b = standard[fold != k], y[fold != k].double()
            penalty = ridge * (standard.T @ standard).diagonal().mean() * torch.eye(6)
            plain[fold == k] = standard[fold == k] @ torch.linalg.solve(a.T @ a + penalty, a.T @ b)
        errors.append(float((scores - plain).abs().max()))
    assert min(errors) < 1e-4


def test_copies_share_a_fold() -> None:
    labels = torch.arange(100) % 2
    groups = torch.where(torch.arange(100) < 50, torch.arange(100), torch.arange(100) - 50)
    fold = suspects.folds(labels, groups)
    assert fold[:50].tolist() == fold[50:].tolist()
    assert set(fold.tolist()) == set(range(suspects.FOLDS))


def test_suspicion_is_zero_where_labels_are_drawn_from_the_probabilities() -> None:
    """As many rows as expected: what is found is then no more than uncertainty."""
    draw = torch.Generator().manual_seed(0)
    shares = (3 * torch.randn(20_000, 4, generator=draw)).softmax(1)
    labels = torch.multinomial(shares, 1, generator=draw)[:, 0]
    rows, other, expected = suspects.suspicious(shares, labels)
    assert len(rows) == pytest.approx(expected, rel=0.35)
    assert (other != labels[rows]).all()


# ---- what comes out --------------------------------------------------------------------------------------------------


def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["shendu", *map(str, words)])
    code = 0
    try:
        cli.main()
    except SystemExit as end:
        code = int(end.code or 0)
    return code, *capsys.readouterr()


def test_the_command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", people(unit=["m"] * 200))
    code, out, _ = call(monkeypatch, capsys, "audit", file)
    assert code == 0
    assert out.splitlines()[0].startswith("t (train 200 rows): 1 warning, in ")
    assert "warning  1 column of one value: unit" in out
    code, out, _ = call(monkeypatch, capsys, "audit", file, "--target", "town", "--json")
    found = json.loads(out)
    assert code == 0
    assert set(found["classes"]) == {"Rome", "Oslo", "Lima"}
    assert [f["kind"] for f in found["findings"]] == ["constant"]
    code, out, error = call(monkeypatch, capsys, "audit", tmp_path / "none.csv")
    assert (code, out) == (2, "")
    assert error.startswith(f"shendu: there is no file or folder {tmp_path / 'none.csv'}")
    assert error.count("\n") == 1


def test_a_row_is_named_in_json(tmp_path: Path) -> None:
    folders(tmp_path, clouds(60))
    (tmp_path / "dog" / "twice.png").write_bytes((tmp_path / "cat" / "002.png").read_bytes())
    (finding,) = shendu.audit(tmp_path).to_json()["findings"]
    assert finding["kind"] == "contradictions"
    assert finding["examples"] == [
        {"text": "cat/002.png = dog/twice.png (cat, dog)", "rows": ["cat/002.png", "dog/twice.png"]}
    ]


def test_a_wrong_target_is_the_persons_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no column 'tonw' to predict; did you mean 'town'"):
        shendu.audit(write(tmp_path / "t.csv", people()), target="tonw")
    with pytest.raises(UserError, match="unknown setting 'targett'; did you mean 'target'"):
        shendu.audit("digits", targett="x")


class Sound(HTMLParser):
    """Fails where a tag is not closed, or something is loaded from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.pictures = 0
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "iframe", "object")
        if tag not in ("meta", "img"):
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href"):
                assert str(value).startswith("data:image/png;base64,")
                self.pictures += 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_one_sound_file(tmp_path: Path) -> None:
    pictures = folders(tmp_path / "p", clouds(60), ("<b>cat", "dog"))
    (pictures / "dog" / "twice.png").write_bytes((pictures / "<b>cat" / "002.png").read_bytes())
    text = shendu.audit(pictures).write(tmp_path / "audit.html").read_text(encoding="utf-8")
    assert Sound(text).pictures == 2
    assert "&lt;b&gt;cat" in text
    assert "http" not in text
    lines = people(unit=["m"] * 200)
    lines += lines[1:4]
    text = shendu.audit(write(tmp_path / "t.csv", lines)).write(tmp_path / "b.html").read_text(encoding="utf-8")
    assert Sound(text).pictures == 0
    assert "age=" in text
    with pytest.raises(UserError, match="cannot write"):
        shendu.audit("xor").write(tmp_path / "t.csv" / "page.html")


def test_a_column_is_told_in_words() -> None:
    assert Feature("a", np.array([np.nan, 2.0], np.float32)).show(0) == "missing"
    assert Feature("a", np.array([0.0, 2.0], np.float32), ("x",)).show(1) == "x"


# ---- real data -------------------------------------------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.parametrize("name", ["adult", "cifar10-jpeg", "fsdd", "uci-splice"])
def test_real_sets_have_no_errors(name: str) -> None:
    found = shendu.audit(name)
    assert not [f for f in found.findings if f.severity == "error"], found.lines()
