"""Makes torchvision importable beside the CPU build of torch: import this first.

torchvision as published is linked against the CUDA build. Its Python part works once its operators exist by name; the
compiled ones (nms, JPEG) do not work, and nothing here calls them.
"""

import torch
from torch import library

LIBRARY = library.Library("torchvision", "FRAGMENT")
if torch.version.cuda is None:  # else torchvision brings them itself
    for name in ("nms", "qnms"):
        LIBRARY.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
