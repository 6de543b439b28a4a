"""The contract of a field: what a name in a batch holds. Imports no torch, so that reading data does not wait for it.

A file under data/fields/ is a field, called as the file is; a person's own class is one as soon as it is defined.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from shendu import config
from shendu.errors import UserError, unknown

if TYPE_CHECKING:
    from torch import Tensor

    Batch = dict[str, Tensor]

Values = dict[str, Any]
"""Part of a field -> its stored values: an array [N, …], or rows of varying length (`shendu.data.ragged.Ragged`)."""


class Storage(NamedTuple):
    """How a part of a field is stored."""

    dtype: str
    shape: tuple[int, ...]
    """The dimensions of a row; of a row of varying length, those of one of its elements."""
    ragged: bool = False


class Size(NamedTuple):
    """A dimension that may have another size at each call of an exported graph."""

    name: str
    least: int = 1
    most: int = 0
    """0: there is no end."""


class Port(NamedTuple):
    """A tensor that an exported graph is given; its first dimension are the rows."""

    dtype: str
    shape: tuple[int | Size, ...]
    about: str
    """What it holds, for who fills it."""
    words: dict[str, int] = {}  # noqa: RUF012 (never written to)
    """Of a cell of a table: what can stand in it -> its code; any other word is `otherwise`."""
    otherwise: int = 0

    def varying(self) -> dict[int, Size]:
        """Axis -> what may vary there, behind the rows."""
        return {axis: size for axis, size in enumerate(self.shape, 1) if isinstance(size, Size)}

    def dims(self) -> list[int | str]:
        """All its dimensions, with the rows; one that may vary by its name."""
        return ["rows", *(size.name if isinstance(size, Size) else size for size in self.shape)]


class Snippet(NamedTuple):
    """Python that reads one row as a person has it, without this package."""

    given: str
    """An expression: port -> array [1, …]."""
    imports: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    """What comes before."""
    example: str = "INPUT"
    """What a person types for it."""


class Some(NamedTuple):
    """How many cells, and one of them."""

    cells: int = 0
    example: str = ""

    def and_(self, other: Some) -> Some:
        return Some(self.cells + other.cells, self.example or other.example)

    def __str__(self) -> str:
        return f"{self.cells:,} cell{'s' * (self.cells != 1)}"


class Unread(NamedTuple):
    """Cells of one column of which a model knows nothing, though something stands in them."""

    bad: Some = Some()
    """They cannot be read, and so count as missing."""
    nothing: Some = Some()
    """They are words that say that nothing is known, where no one said so."""
    unseen: Some = Some()
    """They are categories that training had not."""

    def __str__(self) -> str:
        told = []
        if self.bad.cells:
            count = f"count{'s' * (self.bad.cells == 1)}"
            told.append(f"{self.bad} cannot be read, such as '{self.bad.example}', and {count} as missing")
        if self.nothing.cells:
            told.append(f"{self.nothing}, such as '{self.nothing.example}', taken as missing")
        if self.unseen.cells:
            told.append(f"{self.unseen} of none of the categories that were learned, such as '{self.unseen.example}'")
        return "; ".join(told)

    def and_(self, other: Unread) -> Unread:
        return Unread(*(mine.and_(theirs) for mine, theirs in zip(self, other, strict=True)))


class Field:
    """What a name in a batch holds: how it is stored, prepared for a network and shown. A frozen dataclass; it knows no files.

    Its methods see its own tensors, by part: "" and what else `parts` names, so a batch holds `boxes` and `boxes_count`. What
    was fitted on the training rows are numbers in it; `fit` hands them back as tensors. Shape letters: B rows, U units.
    """

    known: ClassVar[dict[str, type[Field]]] = {}
    """Kind -> class, of those that are imported."""
    kind: ClassVar[str]
    """Its name in files."""
    words: ClassVar[str]
    """What it holds, in a word or two, in the plural."""
    parts: ClassVar[tuple[str, ...]] = ("",)
    takes: ClassVar[tuple[str, ...]] = ("",)
    """Of the parts, what a network is given."""
    moves: ClassVar[bool] = False
    """True: it has places, which move with a picture (pictures, boxes, masks, points)."""
    augments: ClassVar[tuple[str, ...]] = ()
    """The augmentations that can be done to it (shendu.data.augment)."""
    tabular: ClassVar[bool] = False
    """True: rows are cells of a table, whose columns were judged one by one when it was read."""
    looks: ClassVar[bool] = False
    """True: rows are pictures, so that two may look the same and yet differ; `areas` and `blank` say what they look like."""
    dtype: ClassVar[str] = "float32"
    """Of the stored values."""
    ragged: ClassVar[bool] = False
    """True: rows vary in length; gathered, they are padded, and the part `_count` has each one's length."""
    running: ClassVar[bool] = False
    """True: a value is a piece of one long line of rows, so that two values are never put together."""

    explains: ClassVar[str] = ""
    """How answers to it are explained (`shendu.pages.explanation`): maps, elements, columns, marks; empty: they are not."""
    spaced: ClassVar[bool] = True
    """Of units that are marked: whether they are words, or letters that stand close."""
    filed: ClassVar[bool] = False
    """True: a value is what a file holds (a picture, a recording), so a client may send the file."""
    pictured: ClassVar[bool] = False
    """True: rows are pictures, also those that a network draws (`restore`)."""
    flat: ClassVar[bool] = False
    """True: what `show` draws is wider than high, its first line at the bottom (spectrograms)."""

    def __init_subclass__(cls) -> None:
        if "kind" in vars(cls):
            if cls.kind in _files() and not cls.__module__.startswith("shendu."):
                raise UserError(f"{cls.__name__}: there is a field of the kind '{cls.kind}' already; call it otherwise")
            Field.known[cls.kind] = cls

    @property
    def stored(self) -> tuple[int, ...]:
        """The dimensions of one stored row."""
        raise NotImplementedError(f"{type(self).__name__} does not say how a row is stored")

    @property
    def shape(self) -> tuple[int, ...]:
        """The dimensions of one row as a network takes it."""
        return self.stored

    @property
    def units(self) -> int:
        """How many units of a row can be hidden one by one: patches, columns, words; 0: none."""
        return 0

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes that a row is one of; none where it is no class."""
        return ()

    @property
    def feature_count(self) -> int:
        """How many columns a row is made of, each with a meaning of its own; 0: a row is one thing."""
        return 0

    @property
    def per_second(self) -> float:
        """How many of a row's numbers make a second, where it has a time."""
        return 1.0

    @property
    def offset(self) -> tuple[float, ...]:
        """What was taken away of each number of a row, or of all of them, before it was stored as float32; empty: nothing."""
        return ()

    def plain(self, stored: np.ndarray) -> np.ndarray:
        """Stored numbers [N, …] or of one row, as a person knows them: with the offset, which makes them float64."""
        if not self.offset:
            return stored
        away = np.array(self.offset, np.float64)
        return stored.astype(np.float64) + (away.reshape(self.stored) if len(away) > 1 else away[0])

    def storage(self) -> dict[str, Storage]:
        """Stored part -> how."""
        return {"": Storage(self.dtype, self.stored, self.ragged)}

    def fitted(self, chunks: Iterable[Values]) -> Field:
        """The same field with what it needs to know of the training rows, from one pass over pieces of them."""
        return self

    def statistics(self) -> dict[str, tuple[float, ...]]:
        """The fitted numbers that `prepare` and `restore` are handed as tensors."""
        return {}

    def parse(self, values: Any) -> Values:
        """Plain values, one per row -> stored rows. Raises UserError for what does not fit."""
        return {"": self.store(values)}  # type: ignore[attr-defined]

    def read(self, values: Any) -> tuple[Values, dict[str, Unread], tuple[str, ...]]:
        """The same, and what could not be read of it, by column; and notes on how the rest was read."""
        return self.parse(values), {}, ()

    def encoded(self, values: Values) -> Values:
        """Stored rows as training reads them, once per run: bytes -> the codes of a fitted vocabulary."""
        return values

    def gather(self, values: Batch, rows: Tensor) -> Batch:
        """Some rows of stored values (tensors; of ragged ones flat values and `_offsets` [N + 1])."""
        offsets = values.get("_offsets")
        if offsets is None:
            return {part: t.index_select(0, rows) for part, t in values.items()}
        return padded(values[""], offsets, rows)

    def prepare(self, own: Batch, fit: Batch) -> Batch:
        """Stored rows -> what a network takes, by tensor operations on the whole batch."""
        return own

    def restore(self, own: Batch, fit: Batch) -> Batch:
        """And back: what a network gives, in the stored unit."""
        return own

    def transform(self, own: Batch, affine: Tensor) -> Batch:
        """Stored rows moved by affine [B, 2, 3] (as torch's affine_grid has it); what has no place does not move."""
        return own

    def usual_augments(self, sided: bool) -> tuple[str, ...]:
        """Augmentations that change no meaning; `sided`: a class's name speaks of left and right."""
        return ()

    def note_on(self, augments: tuple[str, ...]) -> str:
        """What a person should know of augmentations that were not chosen by hand; empty: nothing."""
        return ""

    def ports(self) -> dict[str, Port]:
        """What an exported graph is given of rows as they come from outside: a part of the field, or a name of its own -> how.

        The usual answer: the stored parts as they are. Raises UserError where no tensor can hold such rows.
        """
        if any(how.ragged for how in self.storage().values()):
            raise UserError(f"{self.words} are rows of varying length, which a graph is not given")
        return {part: Port(how.dtype, how.shape, self.words) for part, how in self.storage().items()}

    def received(self, given: Batch) -> Batch:
        """What an exported graph is given [B, …] -> stored rows, by tensor operations that a graph can hold."""
        return given

    def offered(self, own: Values, size: float) -> tuple[Values, Values]:
        """(stored rows as an exported graph is given them, `size` times as high or long where that may vary; what is stored of
        those by the way that a person's rows come)."""
        return own, own

    def snippet(self, role: str, argument: str, stem: str, words: bool) -> Snippet:
        """How a row is read and given to an exported graph, in Python for who uses it.

        `argument` is the expression of what a person types; `stem` begins the names of the files beside the graph; `words`:
        words in a table's cells are given as they are. The usual answer: as JSON.
        """
        (port,) = self.ports().values()
        return Snippet(
            f'{{"{role}": np.array([json.loads({argument})], "{port.dtype}")}}', ("import json",), example="'[1, 2, …]'"
        )

    def control(self) -> dict[str, Any]:
        """How a page lets a person give a row: the name of its `control` (exporting/page/page.js) and what that needs to know.

        Empty: there is none.
        """
        return {}

    def tokenizers(self) -> dict[str, str]:
        """Port -> what makes its codes of a text, as a file of the library `tokenizers`."""
        return {}

    def hide(self, own: Batch, keep: Tensor, other: Batch | None = None) -> Batch:
        """Stored rows of which only some units are left, bool [B, U]; the rest is that of `other` rows, or says nothing."""
        return own

    def unit_names(self, own: dict[str, np.ndarray]) -> list[str]:
        """What each unit of one stored row is; empty: nothing is there."""
        return []

    def show(self, own: dict[str, np.ndarray]) -> str | np.ndarray:
        """One stored row for the eye: a picture (uint8 [H, W, 1 or 3]) or a line of text."""
        return str(own[""].tolist())[:40]

    def tally(self, pieces: Iterable[Values]) -> str:
        """What rows of a target hold, for a line before training; empty: nothing is to be said."""
        return ""

    def example(self, n: int) -> Batch:
        """n stored rows of ordinary size, drawn under a fixed seed."""
        raise NotImplementedError(f"{type(self).__name__} has no example")

    def features(self, name: str, own: Values) -> Iterator[tuple[str, np.ndarray, tuple[str, ...]]]:
        """The columns of stored rows that are no texts: name, numbers [N] (NaN: missing) or codes, and the codes' names.

        `name` is the field's; 0 is a missing code, 1 one without a name, 2 the first of the names.
        """
        return iter(())

    def taken_apart(self, x: Tensor) -> tuple[Tensor, tuple[tuple[Tensor, int], ...], tuple[Tensor, ...]]:
        """What a network takes [N, …] by what it means: numbers; codes [N], with how many there are; word ids [N, L] (0: none)."""
        return (x, (), ()) if x.is_floating_point() else (x[:, :0], (), (x,))

    def areas(self, own: Values, side: int) -> Tensor:
        """Stored pictures as means over side x side areas: float32 [N, C, side, side], 0 to 255."""
        raise NotImplementedError(f"{type(self).__name__} does not say what a row looks like")

    def blank(self, own: Values) -> np.ndarray:
        """Which stored pictures have one colour: bool [N]."""
        raise NotImplementedError(f"{type(self).__name__} does not say what a row looks like")

    def warning(self, own: dict[str, np.ndarray]) -> str:
        """Why what a model says of stored rows may not be worth much: a line; empty where nothing is known."""
        return ""

    def brief(self) -> str:
        """It in some words, for a message."""
        text = repr(self)
        return text if len(text) <= 100 else f"{text[:97]}…"

    def schema(self) -> Any:
        """What stored rows are, for who sends or reads them."""
        return {"kind": self.kind, "words": self.words, "shape": list(self.stored), "dtype": self.dtype}

    def entry(self) -> dict[str, Any]:
        """How a person is asked for one on a page: `as` says by what (picture, recording, words, columns, numbers), the rest how."""
        return {"as": "numbers", "count": math.prod(self.stored)}

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, **config.to_json(self)}

    @staticmethod
    def from_json(values: dict[str, Any]) -> Field:
        """The field that `to_json` wrote; raises UserError for a kind that is not known, and for wrong values."""
        mine = {key: value for key, value in values.items() if key != "kind"}
        return config.from_json(kind_of(str(values.get("kind"))), mine)


def kind_of(kind: str) -> type[Field]:
    """The class of a kind: of our own files, or one that is imported already, so that no file can name code.

    Raises UserError for another kind.
    """
    if kind not in Field.known and kind in _files():
        importlib.import_module(f"shendu.data.fields.{kind}")
    if kind not in Field.known:
        raise unknown("kind of field", kind, {*_files(), *Field.known})
    return Field.known[kind]


def _files() -> set[str]:
    """The kinds that have a file of their own."""
    return {path.stem for path in (Path(__file__).parent / "data" / "fields").glob("[a-z]*.py")}


def all_unread(first: Mapping[str, Unread], then: Mapping[str, Unread]) -> dict[str, Unread]:
    """Cells that could not be read of several pieces of one table."""
    both = {name: found.and_(then[name]) for name, found in first.items() if name in then}
    return {**then, **first, **both}


def check_strict(unread: Mapping[str, Unread], where: str = "") -> None:
    """Raises UserError for cells that cannot be read, by column, where a person wants that."""
    bad = [f"column {name}: {Unread(found.bad)}" for name, found in unread.items() if found.bad.cells]
    if bad:
        raise UserError(f"{where}{'; '.join(bad)}: correct them, or leave --strict out")


# ---- what several fields share ---------------------------------------------------------------------------------------


def array_of(values: Any) -> np.ndarray:
    """Plain values as an array: a tensor, nested lists, an array. Raises UserError for rows of different lengths."""
    if hasattr(values, "detach"):
        return values.detach().cpu().numpy()
    try:
        return np.asarray(values)
    except ValueError:
        raise UserError("the input has rows of different lengths; give all the same") from None


def drawn(n: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal numbers [n, *shape] under a fixed seed."""
    import torch

    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(n))


def spread(n: int, shape: tuple[int, ...], fit: dict[str, tuple[float, ...]]) -> Tensor:
    """Normal numbers [n, *shape] of a mean and deviation per element (or of one for all), under a fixed seed."""
    import torch

    mean, std = (torch.tensor(fit[name], dtype=torch.float32) for name in ("mean", "std"))
    return (drawn(n, (math.prod(shape),)) * std + mean).view(n, *shape)


def padded(flat: Tensor, offsets: Tensor, rows: Tensor, least: int = 1) -> Batch:
    """Rows of varying length, zeros behind each one's last: "" [B, L, …] and `_count` [B]."""
    import torch

    first = offsets[rows]
    count = offsets[rows + 1] - first
    at = torch.arange(max(least, int(count.max()) if len(count) else 0), device=flat.device)
    there = at < count[:, None]
    found = (
        flat[(first[:, None] + at).clamp(max=max(0, len(flat) - 1))]
        if len(flat)
        else flat.new_zeros((*there.shape, *flat.shape[1:]))
    )
    return {"": found * there.view(*there.shape, *[1] * (flat.dim() - 1)).to(flat.dtype), "_count": count}
