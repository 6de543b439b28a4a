"""Augmentation of whole batches by tensor operations; every draw depends on (key, sample) alone.

Pictures keep their size: `resized-crop` enlarges a part of one to the whole. What is evaluated is the whole picture as it is
stored, so there is no centre crop, and no second size to keep apart from that of training.
"""

from shendu.data.augment.colours import photographic
from shendu.data.augment.geometry import affine, geometric
from shendu.data.augment.parts import cutout, kept, specmask
from shendu.data.augment.sounds import acoustic
from shendu.data.augment.words import KINDS, Augment, draws, of, parse, reason, usual

__all__ = [
    "KINDS", "Augment", "acoustic", "affine", "cutout", "draws", "geometric", "kept", "of", "parse", "photographic", "reason",
    "specmask", "usual",
]  # fmt: skip
