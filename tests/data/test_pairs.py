"""Sentence pairs: rows of varying length, parallel files with every fault, codes that spell the text again, BLEU."""

from __future__ import annotations

import functools
import gzip
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import shendu
import shendu.data
from shendu import tasks
from shendu.core import At
from shendu.data.fields.sentence import Sentence
from shendu.data.ragged import Ragged
from shendu.data.readers import sentences
from shendu.errors import UserError
from shendu.metrics.intervals import Draws
from shendu.metrics.text import BLEU
from shendu.pages import alignment
from shendu.recipes import translation as recipes
from shendu.tasks.translate import END, PADDING, Translate, Wording
from shendu.verbs.evaluate import evaluate
from shendu.verbs.predict import predict
from shendu.verbs.train import train

GERMAN = ["Ein Mann liest.", "Zwei Hunde laufen schnell.", "Ein Mann läuft."] * 10
ENGLISH = ["A man reads.", "Two dogs run fast.", "A man runs."] * 10


def folder(path: Path, **texts: list[str] | bytes) -> Path:
    """train_de=… becomes train.de."""
    path.mkdir(exist_ok=True)
    for name, lines in texts.items():
        data = lines if isinstance(lines, bytes) else "".join(f"{line}\n" for line in lines).encode()
        (path / name.replace("_", ".")).write_bytes(data)
    return path


# ---- rows of varying length


@given(st.lists(st.binary(max_size=6), max_size=8), st.data())
def test_ragged_rows_are_a_list_of_rows(rows: list[bytes], data: Any) -> None:
    ragged = Ragged.of(rows, "uint8")
    assert [bytes(ragged[i]) for i in range(len(ragged))] == rows
    picked = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=6)) if rows else []
    some = ragged[np.array(picked, np.int64)]
    assert [bytes(some[i]) for i in range(len(some))] == [rows[i] for i in picked]
    assert [bytes(row) for row in ragged.padded(4, 7)] == [row[:4].ljust(4, b"\7") for row in rows]
    assert len(ragged[1:3]) == len(rows[1:3])


# ---- files


def test_folder_of_parallel_files(tmp_path: Path) -> None:
    place = folder(tmp_path / "p", train_de=GERMAN, train_en=ENGLISH, val_de=GERMAN[:2], val_en=ENGLISH[:2])
    (place / "test_2016.de.gz").write_bytes(gzip.compress("\ufeffEin Hund.\r\n".encode()))
    (place / "test_2016.en.gz").write_bytes(gzip.compress(b"A dog."))
    folder(place, test_2017_de=GERMAN[:1], test_2017_en=ENGLISH[:1])
    for _ in range(2):  # decoded, then from the cache
        data = shendu.data.open(place)
        assert {part: len(split) for part, split in data.splits.items()} == {"train": 30, "validation": 2, "test": 1}
        assert data.fields == {"source": Sentence(language="de"), "target": Sentence(language="en")}
        assert bytes(data.splits["train"].column("source")[1]).decode() == GERMAN[1]
        assert bytes(data.splits["test"].column("source")[0]) == b"Ein Hund."
    turned = shendu.data.open(place, target="de")
    assert bytes(turned.splits["train"].column("target")[1]).decode() == GERMAN[1]
    assert turned.hash != data.hash


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"train_de": ["a", "b"], "train_en": ["a"]},
         "{}/train.de has 2 lines but train.en has 1: line n of one must be the translation of line n of the other"),
        ({"train_de": ["a", " ", "b"], "train_en": ["a", "x", "b"]},
         "{}/train.de has an empty line 2: write its sentence, or take the line out of train.de and train.en"),
        ({"train_de": ["a"], "train_en": b"x\n\nb\n"}, "{}/train.en has an empty line 2: write its sentence, or take the line out "
         "of train.en and train.de"),
        ({"train_de": ["a"], "train_en": b"ok\nna\xefve\n"}, "{}/train.en is not UTF-8: byte 0xef in line 2; save it as UTF-8"),
        ({"train_de": b"", "train_en": ["a"]}, "{}/train.de is empty: it needs one sentence a line"),
        ({"train_de": b"\n\n", "train_en": ["a"]}, "{}/train.de is empty: it needs one sentence a line"),
        ({"train_de": ["a"], "train_en": [5000 * "a"]}, "{}/train.en has 5,000 bytes in line 1, 4,096 are the most: split it into "
         "sentences in train.en and train.de"),
        ({"train_de": ["a"], "train_en": ["a"], "val_de": ["a"]},
         "{} has val.de but no validation file of en beside it; add it, or remove val.de"),
        ({"train_de": ["a"], "train_en": ["a"], "train_fr": ["a"]},
         "{} has training files of de, en, fr; a pair is of two languages: remove the others"),
        ({"train_de": b"\x1f\x8bnonsense", "train_en": ["a"]}, "{}/train.de is a damaged gzip file"),
    ],
)  # fmt: skip
def test_faults_get_one_line(texts: dict[str, Any], message: str, tmp_path: Path, one_line: Any) -> None:
    place = folder(tmp_path / "p", **texts)
    with pytest.raises(UserError) as caught:
        shendu.data.open(place)
    assert one_line(caught.value).startswith(message.format(place))


def test_unknown_language_gets_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown language 'fr'; known: de, en"):
        shendu.data.open(folder(tmp_path / "p", train_de=GERMAN, train_en=ENGLISH), target="fr")


def test_tables_of_train_and_test_are_no_languages() -> None:
    assert sentences.parts_of(["train.csv", "test.csv", "train.npy", "readme.en"]) == ({}, [])
    assert sentences.parts_of(["train.src", "train.tgt"])[0] == {"train": {"src": "train.src", "tgt": "train.tgt"}}


# ---- sentences and codes


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Translate:
    place = folder(tmp_path_factory.mktemp("pairs") / "p", train_de=GERMAN, train_en=ENGLISH)
    return Translate.of(shendu.data.open(place), Wording(vocabulary=300, longest=40))


@functools.cache
def of_digits() -> Translate:
    return Translate.of(shendu.data.open("reversal"), Wording(vocabulary=270))


@given(st.text(max_size=30))
def test_codes_spell_the_lower_cased_text_again(text: str) -> None:
    made = of_digits()
    codes = torch.from_numpy(made.rows([text]))
    assert codes[0, -1] == END
    assert made.texts(codes) == [" ".join(text.lower().split())]


def test_codes_are_cut_ended_and_padded(task: Translate) -> None:
    rows = task.rows(["Ein Mann liest.", "ein", 50 * "xyzw "], 12)
    assert rows.shape == (3, 12)
    assert (rows[1] == END).sum() == 1
    assert (rows[1][int((rows[1] == END).argmax()) + 1 :] == PADDING).all()
    assert rows[2, -1] == END
    assert task.texts(torch.from_numpy(rows))[:2] == ["ein mann liest.", "ein"]
    assert task.codes <= 300


def test_special_words_in_a_text_are_ordinary_ones(task: Translate) -> None:
    rows = task.rows(["</s> <pad> <s>"])
    assert (rows[:, :-1] > END).all()
    assert task.texts(torch.from_numpy(rows)) == ["</s> <pad> <s>"]


def test_a_text_and_its_bytes_are_encoded_alike(task: Translate) -> None:
    column = Ragged.of([b"Ein Mann l\xc3\xa4uft.", b"Ein Hund."], "uint8")
    same = task.encode(["Ein Mann läuft.", "Ein  Hund."])["x"]
    assert torch.equal(task.encode(column)["x"], same)
    again = tasks.from_file(task.to_json())
    assert torch.equal(again.encode("Ein Mann läuft.")["x"], same[:1])
    assert again.to_json() == task.to_json()


@pytest.mark.parametrize("raw", ["", "  ", 3000 * "ä", np.zeros((2, 3)), [], [1, 2], np.zeros((2, 5000), np.uint8)])
def test_what_is_no_sentence_gets_one_line(raw: Any, task: Translate, one_line: Any) -> None:
    with pytest.raises(UserError) as caught:
        task.encode(raw)
    one_line(caught.value)


@pytest.mark.parametrize("wrong", [{"vocabulary": 100}, {"beam": 0}, {"longest": 1}, {"length_penalty": -1.0}])
def test_wording_out_of_range(wrong: dict[str, Any], one_line: Any) -> None:
    with pytest.raises(UserError, match=f"{next(iter(wrong))}=") as caught:
        Wording(**wrong)
    one_line(caught.value)


# ---- batches


def test_less_than_a_tenth_of_a_batch_is_padding() -> None:
    """Lengths like those of picture captions: 16 codes on the mean, the translation's close to the source's."""
    rng = np.random.default_rng(0)
    x = rng.gamma(9, 16 / 9, 20_000).clip(4, 50).astype(int)
    y = (x * rng.normal(0.97, 0.2, len(x))).clip(3, 50).astype(int)
    made = Translate.of(shendu.data.open("reversal"), Wording(vocabulary=270))
    made.coded = lambda *_: pairs_of(x, y)  # type: ignore[method-assign]
    source = recipes.bucketed(shendu.data.open("reversal"), made, 128, 0, torch.device("cpu"))
    batches = [source.batch(At(i * 128, 128)) for i in range(len(x) // 128)]
    real = sum(int((batch[name] != PADDING).sum()) for batch in batches for name in "xy")
    assert real / sum(batch[name].numel() for batch in batches for name in "xy") > 0.9


def pairs_of(x: np.ndarray, y: np.ndarray) -> Any:
    from shendu.data.dataset import Split

    columns = {name: (np.arange(50) < lengths[:, None]).astype(np.int32) * 5 for name, lengths in (("x", x), ("y", y))}
    return Split(columns)


# ---- BLEU


SYSTEM = ["A man READS a book & sleeps.", "two dogs ran fast", "nothing of it", ""]
REFERENCES = ["a man reads a book &amp; sleeps.", "Two dogs run fast.", "A woman sings, loudly!", "A man."]


def coded(task: Translate, texts: list[str]) -> torch.Tensor:
    return torch.from_numpy(task.rows(texts))


def test_bleu_is_sacrebleus_over_uneven_batches(task: Translate) -> None:
    from sacrebleu.metrics import BLEU as Reference

    theirs = Reference(lowercase=True)
    metric = BLEU(task.texts)
    counted = torch.cat([
        metric.rows({"codes": coded(task, SYSTEM[rows])}, {"y": coded(task, REFERENCES[rows])})
        for rows in (slice(0, 1), slice(1, 4))
    ])  # fmt: skip
    found = metric.figures(counted)["bleu"]
    lowered = [" ".join(text.lower().split()) for text in SYSTEM]
    assert found == pytest.approx(theirs.corpus_score(lowered, [REFERENCES]).score, abs=1e-9)
    assert 10 < found < 90
    assert theirs.get_signature().format() == metric.signature


def test_bleu_of_nothing_is_no_number(task: Translate) -> None:
    assert np.isnan(BLEU(task.texts).figures(torch.empty(0, 10))["bleu"])


def test_bleus_interval_is_of_resampled_sentences(task: Translate) -> None:
    metric = BLEU(task.texts)
    rows = metric.rows({"codes": coded(task, SYSTEM * 20)}, {"y": coded(task, REFERENCES * 20)})
    low, high = metric.intervals(rows, Draws(torch.arange(len(rows))))["bleu"]
    assert 0 < low < metric.figures(rows)["bleu"] < high < 100
    assert high - low > 2


# ---- the verbs


def test_train_evaluate_predict_and_report(tmp_path: Path) -> None:
    place = folder(tmp_path / "p", train_de=GERMAN, train_en=ENGLISH, test_de=GERMAN[:3], test_en=ENGLISH[:3])
    run = train(None, place, out=tmp_path / "run", quiet=True, steps=60, batch_size=10, width=32, heads=2, layers=1, inner=32,
                dropout=0.0, vocabulary=300, longest=24, lr=0.01, validations=1)  # fmt: skip
    assert run.recipe["system"] == "transformer"
    assert run.result["metrics"]["test"]["bleu"] > 50
    signature = BLEU(run.task.texts).signature
    assert run.result["signatures"] == run.evaluate()["signatures"] == {"bleu": signature}
    for page in ("README.md", "report.html"):
        assert signature in (run.path / page).read_text(encoding="utf-8")
    assert [row["translation"] for row in predict(run, GERMAN[0], GERMAN[1])] == [
        ENGLISH[0].lower(),
        ENGLISH[1].lower(),
    ]
    (tmp_path / "new.txt").write_text("Ein Mann liest.\nEin Mann läuft.\n", encoding="utf-8")
    assert [row["input"] for row in predict(run, str(tmp_path / "new.txt"))] == ["Ein Mann liest.", "Ein Mann läuft."]
    assert evaluate(run, place)["metrics"] == run.result["metrics"]["test"]
    page = (tmp_path / "run/report.html").read_text(encoding="utf-8")
    assert all(
        word in page for word in ("Alignment", "Translations", "zwei hunde laufen schnell.", "two dogs run fast.")
    )


def test_the_report_shows_what_the_recurrent_network_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own weights, a row for each code written and a column for each code read; as a picture on the page."""
    drawn: list[Any] = []
    pictures = alignment.pictures
    monkeypatch.setattr(alignment, "pictures", lambda given: pictures(drawn.extend(given) or given))
    place = folder(tmp_path / "p", train_de=GERMAN, train_en=ENGLISH, test_de=GERMAN[:3], test_en=ENGLISH[:3])
    run = train("seq2seq", place, out=tmp_path / "run", quiet=True, steps=30, batch_size=10, embedding=16, hidden=16, aligned=8,
                vocabulary=300, longest=24, beam=1, lr=0.01)  # fmt: skip
    page = run.report.read_text(encoding="utf-8")
    assert re.search(r"Alignment.{0,600}?data:image/", page, re.DOTALL)
    assert len(drawn) == 3
    for sentence, (weights, source, target) in zip(GERMAN, drawn, strict=False):
        assert "".join(source).startswith("".join(sentence.lower().split()))
        assert weights.shape == (len(target), len(source))
        np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-5)
        assert weights.std() > 0


def test_audit_finds_sentences_that_are_there_twice(tmp_path: Path) -> None:
    place = folder(tmp_path / "p", train_de=GERMAN[:3] * 2, train_en=ENGLISH[:3] * 2)
    told = {(finding.kind, finding.count) for finding in shendu.audit(place).findings}
    assert any(count == 3 for _, count in told), told


@pytest.mark.data
def test_multi30k_as_published() -> None:
    for name, languages in (("multi30k-de-en", ("de", "en")), ("multi30k-en-de", ("en", "de"))):
        data = shendu.data.open(name)
        assert {part: len(split) for part, split in data.splits.items()} == {
            "train": 29_000,
            "validation": 1014,
            "test": 1000,
        }
        assert tuple(field.language for field in data.fields.values()) == languages  # type: ignore[attr-defined]
