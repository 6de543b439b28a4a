"""The page of --format web, in headless Chromium, opened from the disk. Needs playwright, Chromium and onnxruntime-web; else skipped."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import shendu
from shendu.data.tokens import BPE, Characters
from shendu.data.words import letters, words
from shendu.errors import UserError
from shendu.exporting.formats import web
from shendu.saved import Saved
from shendu.verbs.export import export

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
CLOSE = 1e-5


def there() -> bool:
    try:
        web.runtime()
    except UserError:
        return False
    return CHROMIUM is not None


pytestmark = [pytest.mark.slow, pytest.mark.skipif(not there(), reason="Chromium or onnxruntime-web is not installed")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as control:
        opened = control.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def page_of(browser: Any, folder: Path) -> SimpleNamespace:
    """A page opened from the disk, once its model is ready; what it asked the network for, and what it complained of."""
    page = browser.new_page()
    asked: list[str] = []
    wrong: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.goto(f"file://{folder.resolve() / 'index.html'}")
    page.wait_for_selector("html[data-ready=yes]", timeout=60_000)
    return SimpleNamespace(page=page, asked=asked, wrong=wrong)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    place = tmp_path_factory.mktemp("web")
    shendu.train("lenet", "digits", steps=200, out=place / "run", quiet=True, compile="off")
    notes: list[str] = []
    said = export(place / "run", format="web", out=place / "page", say=notes.append)
    return SimpleNamespace(run=Saved(place / "run"), folder=place / "page", said=said, notes=notes)


def both(
    opened: SimpleNamespace, folder: Path, given: dict[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What the page and onnxruntime say of the same inputs to the same file."""
    import onnxruntime

    told = {name: {"data": a.ravel().tolist(), "dims": list(a.shape)} for name, a in given.items()}
    found = opened.page.evaluate("given => window.model.ask(given)", told)
    session = onnxruntime.InferenceSession(folder / web.GRAPH)
    names = [output.name for output in session.get_outputs()]
    return found, dict(zip(names, session.run(None, given), strict=True))


def test_the_page_says_what_onnxruntime_says_of_the_same_file(browser: Any, digits: SimpleNamespace) -> None:
    opened, rng = page_of(browser, digits.folder), np.random.default_rng(0)
    for size in ((8, 8), (30, 21), (11, 64)):
        found, wanted = both(opened, digits.folder, {"x": rng.integers(0, 256, (5, *size, 1), np.uint8)})
        said = np.array(found["logits"]["data"]).reshape(wanted["logits"].shape)
        assert np.abs(said - wanted["logits"]).max() <= CLOSE * max(1.0, np.abs(wanted["logits"]).max())
        assert (said.argmax(1) == wanted["logits"].argmax(1)).all()
    assert opened.wrong == []
    assert [url for url in opened.asked if not url.startswith(("file:", "blob:", "data:"))] == []
    assert len([url for url in opened.asked if url.startswith("file:")]) == 1, "one file, and no other is read"
    assert digits.notes[-1].startswith("weights ")


def test_the_keyboard_alone_is_enough(browser: Any, digits: SimpleNamespace) -> None:
    page = page_of(browser, digits.folder).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "CANVAS"
    page.keyboard.press("Space")
    for key in ("ArrowUp",) * 8 + ("ArrowDown",) * 16:
        page.keyboard.press(key)
    page.wait_for_selector("#answer table", timeout=10_000)
    assert page.inner_text("#answer .big") in digits.run.task.labels
    reached = []
    for _ in range(5):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent || document.activeElement.type"))
    assert {"Clear", "Camera", "file", "Ask"} <= set(reached)


def test_a_picture_from_a_file_is_read_as_predict_reads_it(
    browser: Any, digits: SimpleNamespace, tmp_path: Path
) -> None:
    from PIL import Image

    values = np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(values).save(tmp_path / "some.png")
    page = page_of(browser, digits.folder).page
    page.set_input_files("input[type=file]", tmp_path / "some.png")
    page.wait_for_selector("#answer table", timeout=10_000)
    (wanted,) = shendu.predict(digits.run, tmp_path / "some.png")
    assert page.inner_text("#answer .big") == str(wanted["label"])
    given = page.evaluate(
        "() => { const {data, dims} = window.model.read().x; return {data: Array.from(data), dims}; }"
    )
    gray = np.asarray(Image.open(tmp_path / "some.png").convert("L"))
    assert (np.array(given["data"]).reshape(given["dims"])[0, :, :, 0] == gray).all()


def test_texts_have_the_codes_that_training_gives_them(browser: Any, digits: SimpleNamespace) -> None:
    page = page_of(browser, digits.folder).page
    texts = [
        "The film isn't good!",
        "THE <b>film</b> &amp; x_2",
        "日本 naïve ETÉ",
        "don\u2019t\u200d go",
        "",
        "a" * 90,
        "हिन्दी में",
    ]
    for text in texts:
        assert page.evaluate("text => window.model.pieces(text, 'words')", text) == words(text), text
        assert page.evaluate("text => window.model.pieces(text, 'letters')", text) == letters(text), text
    prose = "To be, or not to be:\n  that's the question.\r\n日本 1999 "
    for tokenizer in (Characters.of(prose), BPE.of(prose * 3, 290)):
        script = "([how, text]) => { const t = window.model.tokenizer(how), ids = t.encode(text); return [ids, t.decode(ids)]; }"
        found, again = page.evaluate(script, [tokenizer.to_json(), prose])
        assert found == tokenizer.encode(prose).tolist()
        assert again == prose


def test_a_table_has_a_form(browser: Any, tmp_path: Path) -> None:
    rng, n = np.random.default_rng(0), 120
    frame = pd.DataFrame({"age": rng.integers(18, 80, n), "town": rng.choice(["Bonn", "Köln", "Ulm"], n)})
    frame["label"] = np.where(frame.age > 50, "old", "young")
    shendu.train("tabm", frame, target="label", steps=60, out=tmp_path / "run", quiet=True, compile="off")
    export(tmp_path / "run", frame, target="label", format="web", out=tmp_path / "page")
    page = page_of(browser, tmp_path / "page").page
    page.get_by_label("age").fill("71")
    page.get_by_label("town").select_option("Köln")
    page.wait_for_selector("#answer table", timeout=10_000)
    (wanted,) = shendu.predict(tmp_path / "run", pd.DataFrame([{"age": 71, "town": "Köln"}]))
    assert page.inner_text("#answer .big") == wanted["label"]
    share = float(page.inner_text("#answer tr.best td").rstrip("%")) / 100
    assert share == pytest.approx(wanted["probability"], abs=0.01)


def test_without_the_runtime_one_line_says_where_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, one_line: Any
) -> None:
    monkeypatch.setitem(os.environ, web.VARIABLE, str(tmp_path))
    with pytest.raises(UserError, match="npm install onnxruntime-web") as caught:
        web.runtime()
    one_line(caught.value)
