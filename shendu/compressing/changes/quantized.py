"""Layers that compute with whole numbers of 8 bits: weights by row, inputs by a scale that is known before, or taken of each batch.

y = s_w s_x (W (x_q - z)) + b with x_q = clamp(round(x / s_x + z), 0, 127) and W from -127 to 127 (B. Jacob et al.: Quantization and
training of neural networks for efficient integer-arithmetic-only inference. CVPR 2018). Inputs have 7 bits, so that the sum of two
products fits 16 on processors that add so. oneDNN computes it where it is there, else the same is computed in float32.

Shape letters: B rows, O leaving, I entering.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shendu import parallel
from shendu.compressing import Change, layer_of, put
from shendu.core import Batch
from shendu.errors import UserError
from shendu.tasks import Task

TOP, WEIGHT_TOP = 127, 127
STATIC, DYNAMIC = "static", "dynamic"
SEEN, NARROWER = 1 << 14, 32
"""Numbers of a layer's inputs that are looked at per batch, and how many narrower ranges are tried."""


@dataclass(frozen=True, kw_only=True)
class Quantized(Change):
    """Layers compute in 8 bits."""

    kind: ClassVar[str] = "quantized"
    layers: dict[str, str]
    """Layer -> static: its inputs' scale is kept; dynamic: it is taken of each batch."""

    def apply(self, model: nn.Module) -> None:
        for name, how in self.layers.items():
            layer = layer_of(model, name)
            if how not in (STATIC, DYNAMIC) or not can(layer, how):
                raise UserError(f"the network's layer {name} cannot compute in 8 bits ({how})")
            put(model, name, Whole(layer, how))


def can(layer: nn.Module, how: str) -> bool:
    """Linear layers, and convolutions whose inputs' scale is known; of torch's own classes, since others compute otherwise."""
    if type(layer) is nn.Linear:
        return True
    fits = type(layer) is nn.Conv2d and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return how == STATIC and fits


class Whole(nn.Module):
    """A linear layer or convolution in whole numbers. Not trained; gradients pass to its input as if nothing were rounded."""

    weight: Tensor
    scale: Tensor
    bias: Tensor | None
    entering: Tensor

    def __init__(self, layer: Any, how: str) -> None:
        super().__init__()
        w = layer.weight
        self.how, self.convolves = how, w.dim() == 4
        self.at: tuple[Any, ...] = (layer.stride, layer.padding, layer.dilation, layer.groups) if self.convolves else ()
        self.register_buffer("weight", torch.zeros(w.shape, dtype=torch.int8, device=w.device))
        self.register_buffer("scale", torch.ones(len(w), device=w.device))
        self.register_buffer("bias", None if layer.bias is None else torch.zeros(len(w), device=w.device))
        if how == STATIC:
            self.register_buffer("entering", torch.tensor([1.0, 0.0], device=w.device))
        self.packed: Any = None

    @classmethod
    def of(cls, layer: Any, how: str, entering: tuple[float, int] = (1.0, 0)) -> Whole:
        """The layer, rounded; `entering` are the scale and the zero of its inputs."""
        found = cls(layer, how)
        rows = layer.weight.detach().float().flatten(1)
        scale = (rows.abs().amax(1) / WEIGHT_TOP).clamp(min=torch.finfo(torch.float32).tiny)
        found.scale.copy_(scale)
        found.weight.copy_((rows / scale[:, None]).round().clamp(-WEIGHT_TOP, WEIGHT_TOP).view_as(layer.weight))
        if found.bias is not None:
            found.bias.copy_(layer.bias.detach())
        if how == STATIC:
            found.entering.copy_(torch.tensor(entering))
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "packed": None}  # what a kernel made for itself is made again

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.packed = None

    def forward(self, x: Tensor) -> Tensor:
        """x [..., I] or [B, I, H, W] -> float32 [..., O] or [B, O, H', W']."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            wants_gradient = torch.is_grad_enabled() and x.requires_grad
            if wants_gradient or not kernels(x):
                return self.plainly(x)
            return self.quickly(x)

    def scale_of(self, x: Tensor) -> tuple[float, int]:
        if self.how == STATIC:
            scale, zero = self.entering.tolist()
            return scale, int(zero)
        low, high = x.aminmax() if x.numel() else (x.new_zeros(()), x.new_zeros(()))
        return scale_and_zero(float(low), float(high))

    def plainly(self, x: Tensor) -> Tensor:
        """The same in float32."""
        scale, zero = self.scale_of(x.detach())
        snapped = whole_numbers(x.detach(), scale, zero).sub_(zero).mul_(scale)
        x = x + (snapped - x).detach()
        weight = self.weight.float() * self.scale.view(-1, *[1] * (self.weight.dim() - 1))
        return F.conv2d(x, weight, self.bias, *self.at) if self.convolves else F.linear(x, weight, self.bias)

    def quickly(self, x: Tensor) -> Tensor:
        scale, zero = self.scale_of(x)
        given = whole_numbers(x, scale, zero).to(torch.uint8)
        ops, zeros = torch.ops.onednn, torch.zeros(len(self.scale), dtype=torch.int64)
        made: list[Any] = [self.scale, zeros, self.bias]
        end: list[Any] = [1.0, 0, torch.float32, "none", [], ""]
        if not self.convolves:
            if self.packed is None:
                self.packed = ops.qlinear_prepack(self.weight, None)
            flat = given.flatten(0, -2)
            y: Tensor = ops.qlinear_pointwise(flat, scale, zero, self.packed, *made, *end)
            return y.unflatten(0, x.shape[:-1]) if x.dim() != 2 else y
        stride, padding, dilation, groups = self.at
        where = [list(stride), list(padding), list(dilation), groups]
        if self.packed is None:
            self.packed = ops.qconv_prepack(self.weight, self.scale, scale, zero, *where, list(x.shape))
        y = ops.qconv_pointwise(given, scale, zero, self.packed, *made, *where, *end)
        return y


def whole_numbers(x: Tensor, scale: float, zero: int) -> Tensor:
    """clamp(round(x / scale + zero), 0, 127), float32."""
    return x.mul(1 / scale).add_(zero).round_().clamp_(0, TOP)


def kernels(x: Tensor) -> bool:
    """Whether oneDNN computes in whole numbers here."""
    on = torch.backends.mkldnn.is_available() and torch._C._get_mkldnn_enabled()
    return x.device.type == "cpu" and bool(on) and x.numel() > 0 and x.dim() > 1


def scale_and_zero(low: float, high: float) -> tuple[float, int]:
    """Of inputs from low to high, 0 among them: the step, and the whole number that 0 is."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / TOP, 1e-12)
    return scale, round(min(TOP, max(0, -low / scale)))


def ranges(
    model: nn.Module, names: Iterable[str], task: Task, batches: Iterable[Batch]
) -> dict[str, tuple[float, int]]:
    """Scale and zero of the inputs of each layer, by the batches: the range, or a narrower one that rounds with less squared error."""
    seen: dict[str, list[Tensor]] = {name: [] for name in names}

    def look(name: str) -> Any:
        def note(module: nn.Module, args: Any) -> None:
            flat = args[0].detach().float().flatten()
            ends = torch.stack(flat.aminmax()) if len(flat) else flat
            step = max(1, len(flat) // SEEN)
            seen[name].append(torch.cat([ends, flat[::step][:SEEN]]))

        return note

    hooks = [layer_of(model, name).register_forward_pre_hook(look(name)) for name in seen]
    try:
        with parallel.evaluating(model):
            for batch in batches:
                task.measure(model, batch)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: best_range(torch.cat(values)) for name, values in seen.items() if values}


def best_range(values: Tensor) -> tuple[float, int]:
    """The scale and zero that round these values with the least squared error."""
    low, high = values.min().item(), values.max().item()
    found, least = scale_and_zero(low, high), float("inf")
    for i in range(NARROWER):
        share = 1 - i / NARROWER * 0.8
        scale, zero = scale_and_zero(low * share, high * share)
        error = float((whole_numbers(values, scale, zero).sub_(zero).mul_(scale) - values).square().mean())
        if error < least:
            found, least = (scale, zero), error
    return found


def quantized(model: nn.Module, how: str, task: Task, batches: Iterable[Batch] = ()) -> Quantized:
    """Rounds layers in place; raises UserError where the network has none that can be."""
    names = [name for name, layer in model.named_modules() if name and can(layer, how)]
    entering = ranges(model, names, task, batches) if how == STATIC else dict.fromkeys(names, (1.0, 0))
    if not entering:
        raise UserError(f"this network has no layer that computes in 8 bits ({how}); use --int8=weights")
    for name, (scale, zero) in entering.items():
        put(model, name, Whole.of(layer_of(model, name), how, (scale, zero)))
    return Quantized(layers=dict.fromkeys(entering, how))
