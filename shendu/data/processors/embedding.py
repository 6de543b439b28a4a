"""The processor of what is learned from pairs: rows in, unit vectors out, whose nearness says whether two show the same."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from shendu.core import Batch, Json
from shendu.data.dataset import Dataset
from shendu.data.processors.single import Single
from shendu.field import Field


class Embedding(Single):
    """One input `x`; the model maps prepared rows to embeddings [B, D] of length 1, compared by their cosine.

    `ways` is the number of classes that one picture each stands for in the run's figures (one-shot recognition); 0: the
    figures are those of verification. Two rows are held for the same from a cosine of `threshold` on, which is chosen so
    that a share of at most `false_accepts` of pairs of different classes is let through.
    """

    purpose = "embed"
    labels: tuple[str, ...] = ()

    def __init__(
        self,
        input: Field,
        mean: Iterable[float],
        std: Iterable[float],
        ways: int = 0,
        false_accepts: float = 0.01,
        threshold: float | None = None,
    ) -> None:
        super().__init__(input, mean, std)
        self.ways, self.false_accepts, self.threshold = ways, false_accepts, threshold

    @classmethod
    def of(cls, data: Dataset, *, ways: int = 0, false_accepts: float = 0.01) -> Embedding:
        """For a data set's input, with the figures of its training rows."""
        return cls(data.fields[data.input], data.mean, data.std, ways, false_accepts)

    def call(self, model: nn.Module, batch: Batch) -> Tensor:
        """Embeddings [B, D] of length 1."""
        return model(batch["x"])

    def decode(self, outputs: Tensor) -> Json:
        """Per row its `embedding`, a list of D numbers."""
        return [{"embedding": row} for row in outputs.tolist()]

    def columns(self, outputs: Tensor) -> dict[str, Any]:
        """The same as columns of a table: e_1 … e_D."""
        values = outputs.numpy()
        return {f"e_{i + 1}": values[:, i] for i in range(values.shape[1])}

    def to_json(self) -> Json:
        return {
            "kind": "embedding", "input": self.input.to_json(), "mean": self.mean.tolist(), "std": self.std.tolist(),
            "ways": self.ways, "false_accepts": self.false_accepts, "threshold": self.threshold,
        }  # fmt: skip

    @classmethod
    def from_json(cls, values: Json) -> Embedding:
        given = {key: value for key, value in values.items() if key != "kind"}
        return cls(**{**given, "input": Field.from_json(given["input"])})
