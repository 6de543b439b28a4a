"""How far probabilities are from a teacher's, both softened by a temperature.

G. Hinton, O. Vinyals, J. Dean: Distilling the knowledge in a neural network. arXiv:1503.02531, 2015.

Shape letters: B rows, C classes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def softened(logits: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """T² KL(softmax(taught / T) ‖ softmax(logits / T)): logits [B, …, C] -> [B, …]. The factor keeps the size of the gradients."""
    ours, theirs = (F.log_softmax(t.float() / temperature, -1) for t in (logits, taught))
    return temperature**2 * F.kl_div(ours, theirs, reduction="none", log_target=True).sum(-1)
