"""Makes torchvision importable beside the CPU build of torch: import this first.

torchvision as published is linked against the CUDA build. Its Python part works once its operators exist by name; the
compiled ones (nms, JPEG) do not work, and nothing here calls them.
"""

from torch import library

LIBRARY = library.Library("torchvision", "FRAGMENT")
for name in ("nms", "qnms"):
    LIBRARY.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
