"""Known sets that come with the package: digits, and what is made when it is asked for."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from shendu.data.column import MISSING, NAMED, Column
from shendu.data.fields.audio import Audio
from shendu.data.fields.category import Category
from shendu.data.fields.image import Image
from shendu.data.fields.number import Number
from shendu.data.fields.prose import Prose
from shendu.data.fields.row import Row
from shendu.data.fields.sentence import Sentence
from shendu.data.fields.sequence import Sequence
from shendu.data.files.cache import in_memory_room
from shendu.data.known.entry import Known
from shendu.data.ragged import Ragged
from shendu.data.readers.sentences import SOURCE, TARGET
from shendu.data.readers.texts import column as column_of

DIGITS = Path(__file__).with_name("digits.npz")

GATES: dict[str, tuple[int, Callable[..., int]]] = {
    "and": (2, lambda a, b: a & b),
    "or": (2, lambda a, b: a | b),
    "not": (1, lambda a: 1 - a),
    "xor": (2, lambda a, b: a ^ b),
}
"""Name -> how many inputs, and the truth function."""

OPINIONS = {
    "opening": (
        "well",
        "honestly",
        "in short",
        "to me",
        "last night",
        "once more",
        "as my sister says",
        "I must admit",
    ),
    "thing": ("plot", "cast", "music", "ending", "dialogue", "film", "sequel", "camera", "pace", "dubbing"),
    "good": ("good", "funny", "moving", "clever", "gripping", "fresh"),
    "bad": ("bad", "boring", "clumsy", "silly", "endless", "stale"),
    "closing": (
        "",
        "so there",
        "what a day",
        "popcorn in hand",
        "as announced",
        "with or without glasses",
        "once again",
    ),
}
"""What made-up opinions are made of."""

CITIES = ("Aarhus", "Bergen", "Cork", "Dijon", "Essen", "Faro", "Genoa", "Haarlem")


def digits() -> dict[str, Any]:
    """1,797 pictures of handwritten digits: `image` uint8 [1797, 8, 8, 1], 0 to 255, and `label` int64 [1797].

    Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository (1998).
    """
    with np.load(DIGITS, allow_pickle=False) as stored:
        image, label = stored["image"][..., None], stored["label"].astype(np.int64)
    return {
        "fields": {
            "image": Image(height=8, width=8, channels=1),
            "label": Category(names=tuple(str(digit) for digit in range(10))),
        },
        "splits": {"train": {"image": image, "label": label}},
        "inputs": ("image",),
        "targets": ("label",),
        "notes": (),
    }


def gate(name: str) -> dict[str, Any]:
    """The truth table of a gate of k inputs, in binary order: `inputs` float32 [2^k, k] and `output` int64 [2^k]."""
    arity, truth = GATES[name]
    rows = list(itertools.product((0, 1), repeat=arity))
    table = {
        "inputs": np.array(rows, dtype=np.float32),
        "output": np.array([truth(*row) for row in rows], dtype=np.int64),
    }
    return {
        "fields": {"inputs": Number(shape=(arity,)), "output": Category(names=("0", "1"))},
        "splits": {"train": table},
        "inputs": ("inputs",),
        "targets": ("output",),
        "notes": (),
    }


def bars_and_stripes(side: int = 4) -> dict[str, Any]:
    """Every picture of vertical bars or of horizontal stripes: `picture` uint8 [2·2^side, side, side, 1], 0 or 255, and `label`.

    The empty and the full one are there as both. There are no others, so every part holds them all.
    """
    lines = np.array(list(itertools.product((0, 255), repeat=side)), np.uint8)
    bars = np.repeat(lines[:, None, :], side, axis=1)
    table = {
        "picture": np.concatenate([bars, bars.transpose(0, 2, 1)])[..., None],
        "label": np.repeat(np.arange(2), len(lines)),
    }
    return {
        "fields": {"picture": Image(height=side, width=side, channels=1), "label": Category(names=("bars", "stripes"))},
        "splits": {part: dict(table) for part in ("train", "validation", "test")},
        "inputs": ("picture",),
        "targets": ("label",),
        "notes": ("these are all the pictures that there are, so every part holds all of them",),
    }


def chirps(rows: int = 240, rate: int = 8_000, seconds: float = 0.3) -> dict[str, Any]:
    """Whistles that fall, rise or keep their pitch: `recording` int16 [rows, samples] and `label` int64 [rows].

    The pitch lies between 400 and 3,000 Hz and moves by an octave or not at all; under a little noise, at any loudness.
    """
    import torch

    from shendu import chance

    field = Audio(rate=rate, length=round(rate * seconds))
    middle, phase, loud = chance.uniform(torch.arange(rows), 3, 1).double().numpy().T[..., None]
    noise = chance.uniform(torch.arange(rows), field.length, 2).double().numpy()
    label = np.arange(rows) % 3
    octaves = (label - 1)[:, None] * np.linspace(-0.5, 0.5, field.length)
    turns = np.cumsum(600 * 2 ** (1.8 * middle + octaves) / rate, axis=1) + phase
    x = (np.sin(2 * np.pi * turns) + 0.1 * (2 * noise - 1)) * 10 ** (-1.5 * loud) * 0.9
    return {
        "fields": {"recording": field, "label": Category(names=("falling", "steady", "rising"))},
        "splits": {"train": {"recording": np.rint(x * 32767).astype(np.int16), "label": label.astype(np.int64)}},
        "inputs": ("recording",),
        "targets": ("label",),
        "notes": (),
    }


def mixed(rows: int = 600) -> dict[str, Any]:
    """Made-up subscribers, of whom some stay: `subscriber` (a Row of six columns) and `stays` int64 [rows].

    Who stays follows from months, price and plan, and from visits where they are known (a fifth is missing); the city
    says little, letters nothing. A tenth of the answers is chance.
    """
    import torch

    from shendu import chance

    u = chance.uniform(torch.arange(rows), 8, 3).double().numpy()
    months, price = np.floor(60 * u[:, 0] ** 2), np.round(5 + 35 * u[:, 1], 2)
    visits = np.where(u[:, 6] < 0.2, np.nan, np.floor(-6 * np.log(1 - u[:, 2])))
    plan, city = np.floor(3 * u[:, 3] ** 1.5), np.floor(8 * u[:, 4] ** 2)
    letters = u[:, 5] < 0.4
    score = months / 15 - price / 12 + plan + np.nan_to_num(visits, nan=3.0) / 4 + (city == 2) - 0.8
    stays = np.where(u[:, 7] < 0.1, (100 * u[:, 7]).astype(int) % 2 == 0, score > 0)
    fields = (
        Column(name="months", kind="number"),
        Column(name="price", kind="number"),
        Column(name="visits", kind="number"),
        Column(name="plan", kind="category", names=("basic", "plus", "family")),
        Column(name="city", kind="category", names=CITIES),
        Column(name="letters", kind="boolean", names=("no", "yes")),
    )
    codes = [np.where(u[:, 5] > 0.95, MISSING, plan + NAMED), city + NAMED, letters + NAMED]
    x = np.stack([months, price, visits, *codes], 1).astype(np.float32)
    return {
        "fields": {"subscriber": Row(columns=fields), "stays": Category(names=("no", "yes"))},
        "splits": {"train": {"subscriber": x, "stays": stays.astype(np.int64)}},
        "inputs": ("subscriber",),
        "targets": ("stays",),
        "notes": (),
    }


def opinions(rows: int = 400) -> dict[str, Any]:
    """Made-up opinions on films: `text` (a Text) and `label` int64 [rows], bad or good.

    Half of them say what the film was not, so that no word by itself tells bad from good; two neighbouring words do.
    """
    import torch

    from shendu import chance

    u = chance.uniform(torch.arange(rows), 5, 4).double().numpy()
    good, denied = u[:, 0] < 0.5, u[:, 1] < 0.5
    words = zip(
        _picked(OPINIONS["opening"], u[:, 2]),
        _picked(OPINIONS["thing"], u[:, 3]),
        np.where(denied, "not ", ""),
        np.where(good != denied, _picked(OPINIONS["good"], 7 * u[:, 2] % 1), _picked(OPINIONS["bad"], 7 * u[:, 3] % 1)),
        _picked(OPINIONS["closing"], u[:, 4]),
        strict=True,
    )
    texts = [f"{opening}, the {thing} was {no}{what}! {closing}" for opening, thing, no, what, closing in words]
    field, _ = column_of(texts)
    return {
        "fields": {"text": field, "label": Category(names=("bad", "good"))},
        "splits": {"train": {"text": field.encode(texts), "label": good.astype(np.int64)}},
        "inputs": ("text",),
        "targets": ("label",),
        "notes": (),
    }


def _picked(words: tuple[str, ...], u: np.ndarray) -> np.ndarray:
    """Words by numbers in [0, 1)."""
    return np.array(words)[(u * len(words)).astype(int)]


def motifs(rows: int = 400, length: int = 24, motif: str = "TGACGT") -> dict[str, Any]:
    """Random bases `bases` uint8 [rows, length]; in every second row the motif stands somewhere: `label` int64 [rows]."""
    import torch

    from shendu import chance

    field = Sequence(letters=tuple("ACGT"), length=length)
    u = chance.uniform(torch.arange(rows), length + 1, 4).numpy()
    bases = (1 + np.floor(4 * u[:, :length])).astype(np.uint8)
    label = np.arange(rows) % 2
    starts = np.floor(u[:, length] * (length - len(motif) + 1)).astype(np.int64)
    for i, letter in enumerate(motif):
        bases[label == 1, starts[label == 1] + i] = 1 + field.letters.index(letter)
    return {
        "fields": {"bases": field, "label": Category(names=("absent", "present"))},
        "splits": {"train": {"bases": bases, "label": label.astype(np.int64)}},
        "inputs": ("bases",),
        "targets": ("label",),
        "notes": (),
    }


def tides(steps: int = 160) -> dict[str, Any]:
    """A monthly series with a trend, a season that grows with it, and noise, as windows (series.py)."""
    import torch

    from shendu import chance
    from shendu.data.readers import series
    from shendu.data.steps import Grid, Step
    from shendu.reading import Reading

    t = np.arange(steps)
    noise = chance.uniform(torch.arange(steps), 2, 5).double().numpy().sum(1) - 1
    values = (100 + 0.8 * t) * (1 + 0.2 * np.sin(2 * np.pi * t / 12) + 0.1 * np.cos(4 * np.pi * t / 12) + 0.03 * noise)
    line = series.Line(values.astype(np.float32), Grid(t + 360, Step("month", 1)))
    made = series.windowed(line, "month", "height", "tides", Reading(), in_memory_room)
    return {name: getattr(made, name) for name in ("fields", "splits", "inputs", "targets", "ordered", "notes")}


ONES = (
    "zero one two three four five six seven eight nine ten "
    "eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
)
TENS = "- - twenty thirty forty fifty sixty seventy eighty ninety"


def in_words(number: int) -> str:
    """A number below 1,000, as it is said."""
    ones, tens = ONES.split(), TENS.split()
    if number < 20:
        return ones[number]
    if number < 100:
        return tens[number // 10] + (f" {ones[number % 10]}" if number % 10 else "")
    return f"{ones[number // 100]} hundred" + (f" {in_words(number % 100)}" if number % 100 else "")


def counting(most: int = 999) -> dict[str, Any]:
    """Running text that counts in words: `text` (a Prose), a number a line; the last tenth is the validation part."""
    text = "".join(f"{in_words(number)}\n" for number in range(1, most + 1)).encode()
    end = len(text) * 9 // 10
    parts = {
        part: np.frombuffer(piece, np.uint8) for part, piece in (("train", text[:end]), ("validation", text[end:]))
    }
    return {
        "fields": {"text": Prose()},
        "splits": {part: {"text": rows} for part, rows in parts.items()},
        "inputs": ("text",),
        "targets": ("text",),
        "ordered": True,
        "notes": (),
    }


def reversal(rows: int = 600) -> dict[str, Any]:
    """Made-up sentence pairs: 3 to 6 digits with blanks between them, and the same read backwards."""
    import torch

    from shendu import chance

    u = chance.uniform(torch.arange(rows), 7, 6).double().numpy()
    digits, lengths = (10 * u).astype(int).tolist(), 3 + (4 * u[:, 6]).astype(int)
    lines = [" ".join(map(str, row[:length])) for row, length in zip(digits, lengths, strict=True)]
    columns = {SOURCE: lines, TARGET: [line[::-1] for line in lines]}
    train = {name: Ragged.of([line.encode() for line in text], "uint8") for name, text in columns.items()}
    return {
        "fields": {SOURCE: Sentence(language="digits"), TARGET: Sentence(language="backwards")},
        "splits": {"train": train},
        "inputs": (SOURCE,),
        "targets": (TARGET,),
        "notes": (),
    }


def _gate(name: str) -> Known:
    return Known(
        name=name,
        summary=f"the truth table of the logic gate {name.upper()}: {2 ** GATES[name][0]} rows, 2 classes",
        kind="generated",
        make=functools.partial(gate, name),
        classes=("0", "1"),
        licence="none needed",
    )


SETS: tuple[Known, ...] = (
    Known(
        name="digits",
        summary="handwritten digits, 1,797 grey pictures of 8x8, 10 classes",
        kind="generated",
        make=digits,
        classes=tuple(str(digit) for digit in range(10)),
        licence="CC BY 4.0 (UCI Machine Learning Repository)",
        home="https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
        augment=("shift:0.5",),
    ),
    *map(_gate, GATES),
    Known(
        name="bars-and-stripes",
        summary="every picture of bars or of stripes, 32 of 4x4, 2 classes",
        kind="generated",
        make=bars_and_stripes,
        classes=("bars", "stripes"),
        licence="none needed",
    ),
    Known(
        name="chirps",
        summary="whistles that fall, rise or keep their pitch, 240 recordings of 0.3 s, 3 classes",
        kind="generated",
        make=chirps,
        classes=("falling", "steady", "rising"),
        licence="none needed",
    ),
    Known(
        name="motifs",
        summary="random bases, 400 sequences of 24; in half of them TGACGT is hidden, 2 classes",
        kind="generated",
        make=motifs,
        classes=("absent", "present"),
        licence="none needed",
    ),
    Known(
        name="tides",
        summary="a made-up monthly series of 160 steps: a trend, a season and noise; 2 of 13 years are the test part",
        kind="generated",
        make=tides,
        licence="none needed",
    ),
    Known(
        name="mixed",
        summary="made-up subscribers, 600 rows of numbers, categories and gaps: who stays, 2 classes",
        kind="generated",
        make=mixed,
        classes=("no", "yes"),
        licence="none needed",
    ),
    Known(
        name="counting",
        summary="numbers counted in words, from one up, as running text of 21,950 characters",
        kind="generated",
        make=counting,
        licence="none needed",
    ),
    Known(
        name="opinions",
        summary="made-up opinions on films, 400 texts of a line, half of them in the negative, 2 classes",
        kind="generated",
        make=opinions,
        classes=("bad", "good"),
        licence="none needed",
    ),
    Known(
        name="reversal",
        summary="made-up sentence pairs, 600 lines of 3 to 6 digits: the translation is the line read backwards",
        kind="generated",
        make=reversal,
        licence="none needed",
    ),
)
