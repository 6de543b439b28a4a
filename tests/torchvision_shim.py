"""Makes torchvision importable beside a CPU build of torch: import this first. Its compiled operators exist by name alone."""

import torch
from torch import library

LIBRARY = library.Library("torchvision", "FRAGMENT")
if torch.version.cuda is None:  # else the operators come with torchvision, and to define them twice ends the process
    for name in ("nms", "qnms"):
        LIBRARY.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
