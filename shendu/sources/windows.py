"""Windows of a running text as an endless stream: sample i is arithmetic on (seed, i), so there is nothing to save.

Shape letters: B rows, T tokens of a window, N tokens of the text.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from shendu import chance
from shendu.core import At, Batch
from shendu.data.processors.language import fitting, windows_at

ORDER, SHIFT = 1, 3


class Windows:
    """`x` the tokens of a window and `y` the token after each of them, int64 [B, T].

    Unshuffled, windows follow one another, so each token but the first is predicted once; y is masked behind the text's end.
    Shuffled, an epoch is as many windows in an order of its own, which all begin at a place of its own: each epoch goes
    through the whole text, cut elsewhere; what would run over its end begins anew. Texts shorter than a window make it
    shorter. Raises UserError for a text of one token.
    """

    acts = False

    def __init__(
        self,
        tokens: Tensor,
        context: int,
        *,
        seed: int = 0,
        shuffle: bool = False,
        most: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        """`tokens` int [N]; of an unshuffled text at most the first `most` tokens are read, where above 0."""
        self.device, self.seed, self.shuffle = torch.device(device), seed, shuffle
        self.tokens = (tokens[: most + 1] if most else tokens).to(self.device)
        self.length = fitting(len(self.tokens), context)
        predicted = len(self.tokens) - 1
        self.rows = predicted // self.length if shuffle else -(-predicted // self.length)

    def batch(self, at: At, model: nn.Module | None = None) -> Batch:
        starts = self._starts(torch.arange(at.start, at.start + at.size))
        x, y = windows_at(self.tokens, starts.to(self.device), self.length)
        return {"x": x, "y": y}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass

    def _starts(self, samples: Tensor) -> Tensor:
        """Where each sample's window begins, int64 [B]."""
        epoch, position = samples // self.rows, samples % self.rows
        if not self.shuffle:
            return position * self.length
        position = chance.permute(position, self.rows, self.seed, ORDER, epoch=epoch)
        places = len(self.tokens) - self.length
        return (position * self.length + chance.mix(epoch, self.seed, SHIFT) % places) % places
