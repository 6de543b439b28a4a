"""Translate: sentences of one language -> sentences of another, both as codes of one vocabulary.

The vocabulary is byte-level BPE (Sennrich et al. 2016; bytes: Radford et al. 2019) of the lower-cased training sentences
of both languages: whatever a person writes has a code, and the codes of a sentence spell it again.

Shape letters: B rows, N sentences, L codes of a sentence, W its bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn

from shendu import config
from shendu.core import Batch, Json, Metric, Outputs, Source
from shendu.data import tokens
from shendu.data.dataset import Split
from shendu.data.fields.sentence import Sentence, text_of
from shendu.data.ragged import Ragged
from shendu.errors import UserError
from shendu.metrics.text import BLEU
from shendu.nn.softened import softened
from shendu.parallel import device_of
from shendu.sources.rows import Rows
from shendu.tasks import Again, Section, Task

if TYPE_CHECKING:
    from shendu.data.dataset import Dataset
    from shendu.metrics.evaluation import Measured

PADDING, BEGIN, END = 0, 1, 2
SPECIAL = ("<pad>", "<s>", "</s>")
"""The first codes, which no text has; the tokenizer's come after them."""
CODES_MOST = 1 << 20
TRAIN_FIGURE_ROWS = 1000
"""The training part's figure is of its first rows: a translation is searched for, which takes longer than learning it."""
TOLD, ALIGNED = 12, 4
"""Translations that a report tells, and draws with what was looked at."""


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


class Translate(Task):
    """Source sentences `x` and their translations `y` as codes int64 [B, L]: END last, then PADDING.

    The settings are the `wording` and the `tokenizer`, one for both fields. Outputs are `codes` [B, longest].
    """

    kind = "translate"
    purpose = "translate"
    sampled = f"its first sentence pairs, {TRAIN_FIGURE_ROWS:,} at most"

    def __init__(self, inputs: Any, targets: Any, **settings: Json) -> None:
        super().__init__(inputs, targets, **settings)
        self.wording = config.from_json(Wording, settings["wording"])
        tokenizer = tokens.from_json(settings["tokenizer"])
        assert isinstance(tokenizer, tokens.BPE)
        self.tokenizer = tokenizer

    @classmethod
    def of(cls, data: Dataset, wording: Wording | None = None) -> Self:  # type: ignore[override]
        """With a vocabulary of the training sentences; raises UserError where the data holds no sentence pairs."""
        source, target = data.fields[data.input], data.fields[data.target]
        if not isinstance(source, Sentence) or not isinstance(target, Sentence):
            raise UserError(f"{data.name} holds no sentence pairs, which this system reads; give train.de, train.en, …")
        train, how = data.splits["train"], wording or Wording()
        texts = [normalised(text) for field in (data.input, data.target) for text in texts_of(train.column(field))]
        made = tokens.BPE.of("\n".join(texts), how.vocabulary - len(SPECIAL))
        return cls({"x": source}, {"y": target}, wording=config.to_json(how), tokenizer=made.to_json())

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

    def outputs(self, model: Any, batch: Batch) -> Outputs:
        how = self.wording
        found = model.translate(batch["x"], longest=how.longest, beam=how.beam, penalty=how.length_penalty)
        return {"codes": nn.functional.pad(found, (0, how.longest - found.shape[1]), value=PADDING)}

    def prepare(self, stored: Batch) -> Batch:
        """Codes are int64 for a network."""
        return {name: t.long() for name, t in stored.items()}

    def closed(self) -> str:
        return "a translation is searched for, code after code, for as long as it becomes"

    def encoded(self, stored: dict[str, Any]) -> dict[str, Any]:
        """Sentences as their bytes -> codes int32 [N, L], cut to what the network reads."""
        return {**stored, "x": self.rows(texts_of(stored["x"]), self.wording.longest)}

    def encode(self, texts: Sequence[str]) -> Batch:
        """Sentences -> a prepared batch; raises UserError where there are none, and for what is none."""
        if not len(texts):
            raise UserError("nothing to translate: give at least one sentence")
        stored = self.encoded({"x": self.input.parse(texts)[""]})
        return self.prepare({"x": torch.from_numpy(stored["x"])})

    def distance(self, outputs: Tensor, taught: Tensor, temperature: float) -> Tensor:
        """[B, T]: Kullback-Leibler divergence of softened probabilities, times the temperature squared (Hinton et al. 2015)."""
        return softened(outputs, taught, temperature)

    def metrics(self) -> dict[str, Metric]:
        return {"bleu": BLEU(self.texts)}

    def held_out(self, data: Dataset, part: str) -> Source:
        """A part in its own order, references whole; of the training part the first rows."""
        split = data.splits[part]
        rows = np.arange(min(len(split), TRAIN_FIGURE_ROWS if part == "train" else len(split)))
        coded = self.coded(split.take(rows), data.input, data.target, cut=False)
        return Rows(coded, self, roles={"x": "x", "y": "y"})

    def unsure(self, stored: dict[str, Any]) -> str:
        """A line where sentences, as a person gives them or as they are stored, are longer than the network reads; else empty."""
        longer, longest = self.cut(texts_of(stored["x"])), self.wording.longest
        if not longer:
            return ""
        many = "1 sentence has" if longer == 1 else f"{longer:,} sentences have"
        return f"{many} more than the {longest:,} codes that the network reads: what comes after them is left out"

    def cut(self, texts: Sequence[str]) -> int:
        """How many of the texts have more codes, END among them, than are read."""
        spelled = [normalised(text) for text in texts]
        could = [text for text in spelled if len(text.encode()) >= self.wording.longest]  # a code has at least one byte
        return sum(len(codes) >= self.wording.longest for codes in self.tokenizer.encode_each(could))

    def decode(self, outputs: Outputs, stored: Batch) -> list[dict[str, Json]]:
        """Per row its `translation`."""
        return [{"translation": text} for text in self.texts(outputs["codes"])]

    def answers(self) -> Json:
        return {"translation": "text"}

    def sections(self, measured: Measured, again: Again, model: Any, part: str) -> list[Section]:
        """Translations beside their references."""
        _, outputs, batch = again(torch.arange(min(TOLD, measured.count)))
        languages = self.input.language or "source", self.targets["y"].language or "target"  # type: ignore[attr-defined]
        told = [
            f"{languages[0]}  {given}\n{languages[1]}  {reference}\n→   {translation}"
            for given, reference, translation in zip(
                *(self.texts(codes) for codes in (batch["x"], batch["y"], outputs["codes"])), strict=True
            )
        ]
        note = f"The first sentences of the {part} part, their references, the translations."
        return [
            Section("Translations", "text", "\n\n".join(told), note),
            self._alignment(model, batch["x"], outputs["codes"]),
        ]

    def _alignment(self, model: Translates, x: Tensor, y: Tensor) -> Section:
        """What the model looked at in some translations."""
        from shendu.pages import alignment
        from shendu.pages.drawing import data_uri

        looked = []
        for given, said in zip(x[:ALIGNED].split(1), y[:ALIGNED].long().split(1), strict=True):
            given, said = (codes[:, : max(1, int((codes != PADDING).sum()))] for codes in (given, said))
            place = device_of(model)  # type: ignore[arg-type]
            weights = model.alignment(given.to(place), said.to(place))[0].float().cpu().numpy()
            looked.append((weights, self.spelled(given[0].tolist()), self.spelled(said[0].tolist())))
        note = "A row is a piece of the translation, a column one of the source; the darker, the more it was looked at."
        return Section("Alignment", "picture", data_uri(alignment.pictures(looked)), note)

    def spelled(self, codes: Sequence[int]) -> list[str]:
        """Each code by itself, for the eye."""
        pieces = [*(word.encode() for word in SPECIAL), *self.tokenizer.pieces]
        return [pieces[code].decode("utf-8", "replace").strip() or "·" for code in codes]

    def example(self, n: int) -> Batch:
        """n sentences of ordinary length, drawn under a fixed seed."""
        codes = torch.randint(len(SPECIAL), self.codes, (n, 12), generator=torch.Generator().manual_seed(n))
        codes[:, -1] = END
        return {"sample": torch.arange(n), "x": codes}


# ---- texts and their codes -------------------------------------------------------------------------------------------


def texts_of(column: Any) -> list[str]:
    """The texts of a stored column of sentences."""
    return [text_of(column[row]) for row in range(len(column))]


def normalised(text: str) -> str:
    """In lower case, a blank before each word, so that a word has the same codes wherever it stands."""
    return "".join(f" {word}" for word in text.lower().split())
