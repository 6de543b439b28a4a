"""Losses against torch's own and against loops over rows; activations against their formulas."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from shendu.errors import UserError
from shendu.nn.activations import ACTIVATIONS, activation
from shendu.objectives.losses import LOSSES, loss

B, C = 7, 5


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


OUTPUTS, LABELS = rand(B, C), torch.tensor([0, 4, 2, 2, 1, 3, 0])
SOFT = rand(B, C, seed=1).softmax(1)
VALUES, TARGETS = rand(B, 3), rand(B, 3, seed=1)
SIGNS = torch.tensor([1, -1, 1, 1, -1, -1, 1])
FLAGS = (rand(B, 3, seed=2) > 0).long()


def same(actual: Tensor, expected: Tensor | float) -> None:
    assert actual.shape == ()
    assert float(actual) == pytest.approx(float(expected), rel=1e-12)


def test_the_list_is_complete() -> None:
    assert set(LOSSES) == {"cross-entropy", "mse", "l1", "huber", "bce", "hinge", "kl"}
    assert all(text and "\n" not in text for text in LOSSES.values())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("target", [LABELS, SOFT], ids=["labels", "distribution"])
def test_cross_entropy(target: Tensor, smoothing: float) -> None:
    actual = loss("cross-entropy", label_smoothing=smoothing)(OUTPUTS, target)
    same(actual, F.cross_entropy(OUTPUTS, target, reduction="sum", label_smoothing=smoothing))
    p = target if target.is_floating_point() else F.one_hot(target, C).double()
    p = (1 - smoothing) * p + smoothing / C
    logs = OUTPUTS - OUTPUTS.exp().sum(1, keepdim=True).log()
    same(actual, sum(-float(p[i, c] * logs[i, c]) for i in range(B) for c in range(C)))


def test_cross_entropy_of_maps() -> None:
    outputs, target = rand(B, C, 2, 3), torch.arange(B * 6).reshape(B, 2, 3) % C
    same(loss("cross-entropy")(outputs, target), F.cross_entropy(outputs, target, reduction="sum"))


@pytest.mark.parametrize(
    ("name", "theirs", "error"),
    [
        ("mse", F.mse_loss, lambda e: e * e),
        ("l1", F.l1_loss, abs),
        ("huber", F.huber_loss, lambda e: 0.5 * e * e if abs(e) <= 1 else abs(e) - 0.5),
    ],
)
def test_regression(name: str, theirs: Callable[..., Tensor], error: Callable[[float], float]) -> None:
    actual = loss(name)(VALUES, TARGETS)
    same(actual, B * theirs(VALUES, TARGETS))
    rows = [[error(float(VALUES[i, j] - TARGETS[i, j])) for j in range(3)] for i in range(B)]
    same(actual, sum(sum(row) / 3 for row in rows))
    one, target = VALUES[:, 0], TARGETS[:, 0]
    for outputs in (one, one[:, None]):  # nothing broadcasts to [B, B]
        for wanted in (target, target[:, None]):
            same(loss(name)(outputs, wanted), B * theirs(one, target))
    pictures = rand(B, 2, 3, 4), rand(B, 2, 3, 4, seed=1)
    same(loss(name)(*pictures), B * theirs(*pictures))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_bce(smoothing: float) -> None:
    call = loss("bce", label_smoothing=smoothing)

    def brute(outputs: Tensor, target: Tensor) -> float:
        total = 0.0
        for z, t in zip(outputs.flatten().tolist(), target.flatten().tolist(), strict=True):
            q = t * (1 - smoothing) + smoothing / 2
            p = 1 / (1 + math.exp(-z))
            total -= q * math.log(p) + (1 - q) * math.log(1 - p)
        return total

    same(call(VALUES, FLAGS), brute(VALUES, FLAGS) / 3)
    for outputs in (VALUES[:, 0], VALUES[:, :1]):
        same(call(outputs, FLAGS[:, 0]), brute(outputs, FLAGS[:, 0]))
    if not smoothing:
        theirs = F.binary_cross_entropy_with_logits(VALUES, FLAGS.double(), reduction="sum")
        same(call(VALUES, FLAGS), theirs / 3)


def test_hinge_of_classes() -> None:
    actual = loss("hinge")(OUTPUTS, LABELS)
    total = 0.0
    for i, y in enumerate(LABELS.tolist()):
        best = max(float(OUTPUTS[i, j]) for j in range(C) if j != y)
        total += max(0.0, 1 + best - float(OUTPUTS[i, y]))
    same(actual, total)
    two = OUTPUTS[:, :2]
    same(loss("hinge")(two, LABELS % 2), F.multi_margin_loss(two, LABELS % 2, reduction="sum") * 2)


def test_hinge_of_two() -> None:
    outputs = OUTPUTS[:, 0]
    expected = sum(max(0.0, 1 - s * f) for s, f in zip(SIGNS.tolist(), outputs.tolist(), strict=True))
    for target in (SIGNS, SIGNS.double(), (SIGNS > 0).long()):
        same(loss("hinge")(outputs, target), expected)
        same(loss("hinge")(outputs[:, None], target), expected)


def test_kl() -> None:
    logs = OUTPUTS.log_softmax(1)
    actual = loss("kl")(logs, SOFT)
    same(actual, B * F.kl_div(logs, SOFT, reduction="batchmean"))
    same(actual, (SOFT * (SOFT.log() - logs)).sum())
    same(loss("kl")(logs, F.one_hot(LABELS, C)), F.cross_entropy(OUTPUTS, LABELS, reduction="sum"))


CASES = [
    ("cross-entropy", OUTPUTS, LABELS),
    ("cross-entropy", OUTPUTS, SOFT),
    ("mse", VALUES, TARGETS),
    ("l1", VALUES, TARGETS),
    ("huber", VALUES, TARGETS),
    ("bce", VALUES, FLAGS),
    ("hinge", OUTPUTS, LABELS),
    ("hinge", OUTPUTS[:, 0], SIGNS),
    ("kl", OUTPUTS.log_softmax(1), SOFT),
]


@pytest.mark.parametrize(("name", "outputs", "target"), CASES)
def test_sums_over_slices_are_the_sum(name: str, outputs: Tensor, target: Tensor) -> None:
    parts = [loss(name)(outputs[a:b], target[a:b]) for a, b in ((0, 1), (1, 5), (5, 5), (5, 7))]
    same(torch.stack(parts).sum(), loss(name)(outputs, target))


@pytest.mark.parametrize(("name", "outputs", "target"), CASES)
def test_gradients(name: str, outputs: Tensor, target: Tensor) -> None:
    assert torch.autograd.gradcheck(lambda x: loss(name)(x, target), outputs.clone().requires_grad_())


@pytest.mark.parametrize(("name", "outputs", "target"), CASES)
def test_half_precision_is_summed_in_float32(name: str, outputs: Tensor, target: Tensor) -> None:
    half = outputs.bfloat16()
    assert loss(name)(half, target).dtype == torch.float32
    torch.testing.assert_close(loss(name)(half, target), loss(name)(half.float(), target))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: loss("mes"), "did you mean 'mse'"),
        (lambda: loss("mse", label_smoothing=0.1), "label_smoothing is not for the loss 'mse'"),
        (lambda: loss("bce", label_smoothing=1.0), r"label_smoothing=1 is not in \[0, 1\)"),
        (lambda: loss("mse")(OUTPUTS, LABELS), r"outputs \[7, 5\] with targets \[7\]"),
        (lambda: loss("mse")(VALUES[:, :1], TARGETS), "differ in shape"),
        (lambda: loss("cross-entropy")(OUTPUTS[:, 0], LABELS), "use loss=bce"),
        (lambda: loss("cross-entropy")(OUTPUTS, TARGETS), "differ in shape"),
        (lambda: loss("hinge")(OUTPUTS, FLAGS), "one label per row"),
    ],
)
def test_mistakes_are_told(call: Callable[[], object], text: str) -> None:
    with pytest.raises(UserError, match=text) as caught:
        call()
    assert "\n" not in str(caught.value)


# ---- activations

FORMULAS: dict[str, Callable[[float], float]] = {
    "identity": lambda x: x,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "tanh": math.tanh,
    "scaled-tanh": lambda x: 1.7159 * math.tanh(2 * x / 3),
    "softplus": lambda x: math.log1p(math.exp(x)),
    "relu": lambda x: max(x, 0.0),
    "relu6": lambda x: min(max(x, 0.0), 6.0),
    "leaky-relu": lambda x: x if x > 0 else 0.01 * x,
    "elu": lambda x: x if x > 0 else math.expm1(x),
    "selu": lambda x: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * math.expm1(x)),
    "gelu": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
    "silu": lambda x: x / (1 + math.exp(-x)),
    "mish": lambda x: x * math.tanh(math.log1p(math.exp(x))),
    "hard-swish": lambda x: x * min(max(x + 3, 0.0), 6.0) / 6,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_their_formulas(name: str) -> None:
    x = torch.linspace(-8, 8, 65, dtype=torch.float64)
    torch.testing.assert_close(activation(name)(x), torch.tensor([FORMULAS[name](v) for v in x.tolist()]).double())
    assert activation(name) is not activation(name)


def test_scaled_tanh_keeps_one() -> None:
    torch.testing.assert_close(activation("scaled-tanh")(torch.tensor([-1.0, 1.0])), torch.tensor([-1.0, 1.0]))


def test_an_unknown_activation_is_told() -> None:
    with pytest.raises(UserError, match="unknown activation 'rel'; did you mean 'relu'"):
        activation("rel")
