"""Dropout that is fast on a processor, where torch's own waits for a serial generator."""

from __future__ import annotations

from torch import Tensor, nn

from shendu import chance
from shendu.errors import UserError


class Dropout(nn.Module):
    """Inverted dropout (Srivastava et al. 2014): drops with probability p in training, passes everything in eval."""

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise UserError(f"dropout={p} is no probability below 1; write it like dropout=0.1")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return chance.dropout(x, self.p) if self.training else x

    def extra_repr(self) -> str:
        return f"p={self.p}"
