"""The processor of translation: sentences <-> codes of one vocabulary for both languages, which is saved with the weights.

The vocabulary is byte-level BPE (Sennrich et al. 2016; bytes: Radford et al. 2019) of the lower-cased training sentences
of both languages: whatever a person writes has a code, and the codes of a sentence spell it again.

Shape letters: B rows, N sentences, L codes of a sentence, W its bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from shendu import config
from shendu.core import Batch, Json
from shendu.data import tokens
from shendu.data.dataset import Dataset, Split
from shendu.data.fields.sentence import Sentence, text_of
from shendu.data.ragged import Ragged
from shendu.errors import UserError
from shendu.field import Field

PADDING, BEGIN, END = 0, 1, 2
SPECIAL = ("<pad>", "<s>", "</s>")
"""The first codes, which no text has; the tokenizer's come after them."""
CODES_MOST = 1 << 20


@runtime_checkable
class Translates(Protocol):
    """A model that maps codes of one language to those of another."""

    def translate(self, x: Tensor, *, longest: int, beam: int, penalty: float) -> Tensor:
        """x [B, L] -> translations int64 [B, ≤ longest], END and PADDING behind each."""
        ...

    def alignment(self, x: Tensor, y: Tensor) -> Tensor:
        """How much the model looks at each source code [B, S] when it writes each target code [B, T]: [B, T, S]."""
        ...


@dataclass(frozen=True, kw_only=True)
class Wording:
    """How sentences become codes, and how a translation is searched for."""

    vocabulary: int = 6000
    """Codes of both languages together, at most: 259 and one per merge of two."""
    longest: int = 128
    """Codes of a sentence: longer ones are cut in training, and no translation is longer."""
    beam: int = 4
    """Hypotheses that are kept in the search; 1: the likeliest code each time."""
    length_penalty: float = 0.6
    """How far brevity is punished: 0 not at all, 1 the mean over codes counts."""

    def __post_init__(self) -> None:
        for name, right, like in (
            ("vocabulary", len(SPECIAL) + tokens.BPE_LEAST <= self.vocabulary <= tokens.BPE_MOST, "6000"),
            ("longest", self.longest >= 2, "128"),
            ("beam", 1 <= self.beam <= 1000, "4"), ("length_penalty", 0 <= self.length_penalty <= 10, "0.6"),
        ):  # fmt: skip
            if not right:
                raise UserError(f"{name}={getattr(self, name)} is out of range; write it like {name}={like}")


class Translation:
    """Source sentences `x` and their translations `y` as codes int64 [B, L]: END last, then PADDING."""

    labels: tuple[str, ...] = ()

    def __init__(self, input: Sentence, target: Sentence, wording: Wording, tokenizer: tokens.BPE) -> None:
        self.input, self.target, self.wording, self.tokenizer = input, target, wording, tokenizer

    @classmethod
    def of(cls, data: Dataset, wording: Wording) -> Translation:
        """With a vocabulary of the training sentences; raises UserError where the data holds no sentence pairs."""
        source, target = data.fields[data.input], data.fields[data.target]
        if not isinstance(source, Sentence) or not isinstance(target, Sentence):
            raise UserError(f"{data.name} holds no sentence pairs, which this system reads; give train.de, train.en, …")
        train = data.splits["train"]
        texts = [normalised(text) for field in (data.input, data.target) for text in texts_of(train.column(field))]
        return cls(source, target, wording, tokens.BPE.of("\n".join(texts), wording.vocabulary - len(SPECIAL)))

    @property
    def codes(self) -> int:
        """How many codes there are."""
        return len(SPECIAL) + self.tokenizer.size

    def coded(self, split: Split, source: str, target: str, cut: bool = True) -> Split:
        """A split's sentence pairs as columns x and y of codes int32 [N, L]; translations are `cut` where they are learned."""
        columns = {}
        for name, field in (("x", source), ("y", target)):
            longest = self.wording.longest if name == "x" or cut else 0
            columns[name] = self.rows(texts_of(split.column(field)), longest)
        return Split(columns)

    def rows(self, texts: Sequence[str], longest: int = 0) -> np.ndarray:
        """Codes int32 [N, L] of texts, END behind each; cut to `longest` (0: whole)."""
        most = (longest or CODES_MOST) - 1
        pieces = self.tokenizer.encode_each([normalised(text) for text in texts])
        ragged = Ragged.of([[*(piece + len(SPECIAL) for piece in row[:most]), END] for row in pieces], "int32")
        return ragged.padded(max(1, int(ragged.lengths.max(initial=1))), PADDING)

    def texts(self, codes: Tensor) -> list[str]:
        """Texts of codes [B, L] up to each END, without the special ones."""
        rows = codes.long().cpu().numpy()
        alive = (np.cumsum(rows == END, 1) == 0) & (rows >= len(SPECIAL)) & (rows < self.codes)
        pieces = self.tokenizer.pieces
        spelled = (
            b"".join([pieces[code] for code in row[keep] - len(SPECIAL)]) for row, keep in zip(rows, alive, strict=True)
        )
        return [text.decode("utf-8", "replace").strip() for text in spelled]

    def call(self, model: nn.Module, batch: Batch) -> Tensor:
        """Translations int64 [B, longest]."""
        assert isinstance(model, Translates)
        how = self.wording
        found = model.translate(batch["x"], longest=how.longest, beam=how.beam, penalty=how.length_penalty)
        return nn.functional.pad(found, (0, how.longest - found.shape[1]), value=PADDING)

    def prepare(self, batch: Batch) -> Batch:
        """Codes as they are stored, or a person's sentences as bytes uint8 [B, W] -> codes int64 [B, L]."""
        x = batch["x"]
        if x.dtype == torch.uint8:
            x = torch.from_numpy(self.rows([text_of(row) for row in x.cpu().numpy()], self.wording.longest)).to(
                x.device
            )
        return {name: t.long() for name, t in {**batch, "x": x}.items()}

    def encode(self, raw: Any) -> Batch:
        """A sentence, or a list of them -> a prepared batch; raises UserError where it does not fit."""
        if isinstance(raw, list | tuple) and not raw:
            raise UserError("nothing to translate: give at least one sentence")
        return self.prepare({"x": torch.from_numpy(self.input.parse(raw)[""].dense())})

    def doubt(self, rows: Any) -> str:
        """A line where sentences, as they are stored, are longer than the network reads; else empty."""
        longer, longest = self.cut([text_of(row) for row in rows]), self.wording.longest
        if not longer:
            return ""
        many = "1 sentence has" if longer == 1 else f"{longer:,} sentences have"
        return f"{many} more than the {longest:,} codes that the network reads: what comes after them is left out"

    def cut(self, texts: Sequence[str]) -> int:
        """How many of the texts have more codes, END among them, than are read."""
        spelled = [normalised(text) for text in texts]
        could = [text for text in spelled if len(text.encode()) >= self.wording.longest]  # a code has at least one byte
        return sum(len(codes) >= self.wording.longest for codes in self.tokenizer.encode_each(could))

    def decode(self, outputs: Tensor) -> Json:
        """Per row its `translation`."""
        return [{"translation": text} for text in self.texts(outputs)]

    def columns(self, outputs: Tensor) -> dict[str, Any]:
        """The same as a column of a table."""
        return {"translation": self.texts(outputs)}

    def spelled(self, codes: Sequence[int]) -> list[str]:
        """Each code by itself, for the eye."""
        pieces = [*(word.encode() for word in SPECIAL), *self.tokenizer.pieces]
        return [pieces[code].decode("utf-8", "replace").strip() or "·" for code in codes]

    def example(self, n: int) -> Batch:
        """n sentences of ordinary length, drawn under a fixed seed."""
        codes = torch.randint(len(SPECIAL), self.codes, (n, 12), generator=torch.Generator().manual_seed(n))
        codes[:, -1] = END
        return {"x": codes}

    def to_json(self) -> Json:
        return {
            "kind": "translation", "input": self.input.to_json(), "target": self.target.to_json(),
            "wording": config.to_json(self.wording), "tokenizer": self.tokenizer.to_json(),
        }  # fmt: skip

    @classmethod
    def from_json(cls, values: Json) -> Translation:
        source, target = (Field.from_json(values[name]) for name in ("input", "target"))
        assert isinstance(source, Sentence)
        assert isinstance(target, Sentence)
        wording, tokenizer = config.from_json(Wording, values["wording"]), tokens.from_json(values["tokenizer"])
        assert isinstance(tokenizer, tokens.BPE)
        return cls(source, target, wording, tokenizer)


# ---- texts and their codes -------------------------------------------------------------------------------------------


def texts_of(column: Any) -> list[str]:
    """The texts of a stored column of sentences."""
    return [bytes(column[row]).decode("utf-8", "replace") for row in range(len(column))]


def normalised(text: str) -> str:
    """In lower case, a blank before each word, so that a word has the same codes wherever it stands."""
    return "".join(f" {word}" for word in text.lower().split())
