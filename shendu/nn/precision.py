"""In which type a network's layers hand on what they have found."""

from __future__ import annotations

import torch
from torch import Tensor


def lowered(x: Tensor) -> Tensor:
    """x in the type of matrix products here: half precision under autocast, else as it is.

    Autocast leaves sums in float32, so each layer's input is copied for the product that follows, and back for its gradient.
    A network that begins with `lowered` hands on half precision between its layers; its weights and their updates stay float32.
    """
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


def exact(dtype: torch.dtype) -> torch.dtype:
    """In which type sums and exponentials of numbers of a type are taken: float32 at least."""
    return torch.promote_types(dtype, torch.float32)
