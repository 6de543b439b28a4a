"""Learning to fill in hidden words, and to tell whether two segments of text follow each other.

Shape letters: B rows, T places, M hidden places of a row, V vocabulary.
"""

from __future__ import annotations

from typing import Protocol, cast

from torch import Tensor, nn

from shendu.core import MASKED, Batch, Loss, Objective
from shendu.nn.cross_entropy import cross_entropy


class Guesses(Protocol):
    """A model that reads two segments at once and guesses."""

    def guess(self, x: Tensor, segments: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Codes x [B, T], of the first or the second segment (segments [B, T]) -> logits of the words at `places` [B, M]
        as [B, M, V], and of whether the second segment follows the first or is from another text [B, 2].
        """
        ...


class MaskedWords(Objective):
    """Cross-entropy in nats of two guesses, each averaged over its own units and then added (Devlin et al. 2019).

    A batch has `x`, `segments` and `places` as above, the hidden `words` int64 [B, M] (MASKED where a row has fewer than M)
    and `other` int64 [B]: 0 the second segment follows, 1 it is from another text, MASKED there is none.
    """

    def units(self, batch: Batch) -> dict[str, Tensor | int]:
        """Hidden words, and pairs of segments."""
        return {"masked": counted(batch["words"]), "next": counted(batch["other"])}

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        words, other = cast(Guesses, model).guess(batch["x"], batch["segments"], batch["places"])
        sums = {"masked": missed(words, batch["words"]), "next": missed(other, batch["other"])}
        counts = {"masked": counted(batch["words"]), "next": counted(batch["other"])}
        return Loss(sums, {name: value.detach() / counts[name].clamp(min=1) for name, value in sums.items()})


def missed(logits: Tensor, wanted: Tensor) -> Tensor:
    """-log p of what is wanted [...], of logits [..., K], summed; what is MASKED does not count."""
    return cross_entropy(logits.flatten(0, -2), wanted.flatten(), ignored=MASKED)


def counted(wanted: Tensor) -> Tensor:
    return (wanted != MASKED).sum()
