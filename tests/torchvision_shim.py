"""Makes torchvision importable beside a CPU build of torch: import this first. Its compiled operators exist by name alone."""

from torch import library

LIBRARY = library.Library("torchvision", "FRAGMENT")
for name in ("nms", "qnms"):
    LIBRARY.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
