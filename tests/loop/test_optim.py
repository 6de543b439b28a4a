"""Optimisers against their textbook updates in float64, and schedules against tables and torch's own."""

from __future__ import annotations

import copy
import itertools
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from shendu import optim
from shendu.errors import UserError

LR, MOMENTUM, DECAY, BETAS = 0.03, 0.8, 0.1, (0.7, 0.95)
SHAPES = {"head.weight": (3, 5), "conv.weight": (2, 3, 2, 2), "norm.weight": (4,), "scale": ()}


def parameters(dtype: torch.dtype = torch.float64) -> dict[str, nn.Parameter]:
    g = torch.Generator().manual_seed(1)
    return {name: nn.Parameter(torch.randn(shape, generator=g, dtype=dtype)) for name, shape in SHAPES.items()}


def gradients(steps: int, dtype: torch.dtype = torch.float64) -> list[dict[str, Tensor]]:
    g = torch.Generator().manual_seed(2)
    return [{name: torch.randn(s, generator=g, dtype=dtype) for name, s in SHAPES.items()} for _ in range(steps)]


def groups(params: dict[str, nn.Parameter]) -> list[dict[str, Any]]:
    """Two groups, as a stage with two `trains` would make them."""
    names = list(params)
    return [
        {"name": part, "params": [params[n] for n in chosen], "names": chosen}
        for part, chosen in (("first", names[:1]), ("others", names[1:]))
    ]


def build(name: str, params: dict[str, nn.Parameter], **more: Any) -> torch.optim.Optimizer:
    numbers = {"lr": LR, "momentum": MOMENTUM, "weight_decay": DECAY, "betas": BETAS, **more}
    return optim.optimizer(name, **numbers)(groups(params))


def run(optimizer: torch.optim.Optimizer, params: dict[str, nn.Parameter], grads: list[dict[str, Tensor]]) -> None:
    for grad in grads:
        optimizer.zero_grad(set_to_none=True)
        for name, p in params.items():
            p.grad = grad[name].clone()
        optimizer.step()


def textbook(name: str, w: Tensor, grads: list[Tensor], decay: float) -> Tensor:
    """The published update, one parameter at a time."""
    w, v, s = w.detach().clone(), torch.zeros_like(w), torch.zeros_like(w)
    b1, b2 = BETAS
    for t, g in enumerate(grads, 1):
        if name == "adamw":
            w = w - LR * decay * w
        else:
            g = g + decay * w
        if name in ("gd", "sgd"):
            w = w - LR * g
        elif name in ("momentum", "nesterov"):
            v = MOMENTUM * v + g
            w = w - LR * (v if name == "momentum" else g + MOMENTUM * v)
        elif name == "adagrad":
            s = s + g**2
            w = w - LR * g / (s.sqrt() + 1e-10)
        elif name == "rmsprop":
            s = 0.99 * s + 0.01 * g**2
            w = w - LR * g / (s.sqrt() + 1e-8)
        else:
            v, s = b1 * v + (1 - b1) * g, b2 * s + (1 - b2) * g**2
            w = w - LR * (v / (1 - b1**t)) / ((s / (1 - b2**t)).sqrt() + 1e-8)
    return w


@pytest.mark.parametrize("decay_all", [False, True])
@pytest.mark.parametrize("name", [name for name in optim.OPTIMIZERS if name != "muon"])
def test_five_steps_are_the_textbooks(name: str, decay_all: bool) -> None:
    params, grads = parameters(), gradients(5)
    start = {key: p.detach().clone() for key, p in params.items()}
    run(build(name, params, decay_all=decay_all), params, grads)
    for key, p in params.items():
        decay = DECAY if p.ndim >= 2 or decay_all else 0.0
        expected = textbook(name, start[key], [grad[key] for grad in grads], decay)
        torch.testing.assert_close(p.detach(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4), (16, 64)])
def test_muon_orthogonalises(shape: tuple[int, int]) -> None:
    """The update is U S V' with the gradient's U and V, and S of about 1 instead of the gradient's values."""
    w = nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64))
    gradient = torch.randn(shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    before = w.detach().clone()
    w.grad = gradient.clone()
    optim.optimizer("muon", lr=LR, weight_decay=DECAY)([{"name": "a", "params": [w], "names": ["w"]}]).step()
    update = ((1 - LR * DECAY) * before - w.detach()) / (LR * 0.2 * math.sqrt(max(shape)))
    u, s, vh = torch.linalg.svd(gradient, full_matrices=False)
    assert s.max() / s.min() > 1.5
    core = u.T @ update @ vh.T
    assert ((core.diagonal() > 0.6) & (core.diagonal() < 1.3)).all()
    assert (core - torch.diag(core.diagonal())).abs().max() < 0.05
    torch.testing.assert_close(u @ core @ vh, update, atol=0.03, rtol=0)


def test_muon_is_torchs_on_matrices() -> None:
    """torch multiplies in bfloat16, so five steps agree to its digits only."""
    start, grads = torch.randn(12, 30), torch.randn(5, 12, 30)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizer = optim.Muon([ours], lr=LR, momentum=0.9, weight_decay=DECAY)
    reference = torch.optim.Muon([theirs], lr=LR, momentum=0.9, weight_decay=DECAY, adjust_lr_fn="match_rms_adamw")
    for grad in grads:
        ours.grad, theirs.grad = grad.clone(), grad.clone()
        optimizer.step(), reference.step()
    assert (ours - start).norm() > 0.4
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0.02 * float((theirs - start).detach().abs().max()))


@pytest.mark.parametrize("shape", [(8, 24), (24, 8), (6, 90)])
def test_muon_iterates_wide_matrices_by_their_squares_to_the_same_end(shape: tuple[int, int]) -> None:
    x = torch.randn(3, *shape)
    step = x / x.norm(dim=(1, 2), keepdim=True)
    for _ in range(5):
        square = step @ step.mT
        step = optim.A * step + (optim.B * square + optim.C * square @ square) @ step
    torch.testing.assert_close(optim.orthogonal(x), step, rtol=1e-3, atol=1e-4)


def test_muon_takes_a_kernel_as_its_matrix_and_one_by_one_as_together() -> None:
    kernels = [nn.Parameter(torch.randn(6, 3, 2, 2)) for _ in range(3)]
    matrices = [nn.Parameter(k.detach().flatten(1).clone()) for k in kernels]
    for kernel, matrix in zip(kernels, matrices, strict=True):
        kernel.grad = torch.randn_like(kernel).to(memory_format=torch.channels_last)
        matrix.grad = kernel.grad.flatten(1)
        optim.Muon([matrix], lr=LR).step()
    optim.Muon(kernels, lr=LR).step()
    for kernel, matrix in zip(kernels, matrices, strict=True):
        torch.testing.assert_close(kernel.flatten(1), matrix)


def test_muon_leaves_biases_and_gains_to_adamw() -> None:
    params, grads = parameters(), gradients(5)
    start = {key: p.detach().clone() for key, p in params.items()}
    optimizer = build("muon", params)
    run(optimizer, params, grads)
    assert isinstance(optimizer, torch.optim.Optimizer)
    for key in ("norm.weight", "scale"):
        expected = textbook("adamw", start[key], [grad[key] for grad in grads], 0.0)
        torch.testing.assert_close(params[key].detach(), expected, rtol=1e-10, atol=1e-12)
    assert sorted(name for group in optimizer.param_groups for name in group["names"]) == sorted(SHAPES)
    assert [len(part.param_groups) for part in optimizer.parts] == [2, 1]


def test_muon_of_matrices_alone_and_of_none() -> None:
    for key, part in (("head.weight", optim.Muon), ("scale", torch.optim.AdamW)):
        p = parameters()[key]
        optimizer = optim.optimizer("muon", lr=LR)([{"name": "a", "params": [p], "names": [key]}])
        assert [isinstance(inner, part) for inner in optimizer.parts] == [True]
        run(optimizer, {key: p}, [{key: grad[key]} for grad in gradients(2)])


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_continues_bit_for_bit_from_its_state(name: str) -> None:
    grads = gradients(6, torch.float32)
    whole = parameters(torch.float32)
    run(build(name, whole), whole, grads)

    first = parameters(torch.float32)
    optimizer = build(name, first)
    run(optimizer, first, grads[:3])
    saved = copy.deepcopy(optimizer.state_dict()["state"])

    second = {key: nn.Parameter(p.detach().clone()) for key, p in first.items()}
    resumed = build(name, second)
    resumed.load_state_dict({**resumed.state_dict(), "state": saved})
    run(resumed, second, grads[3:])
    for key in SHAPES:
        assert torch.equal(second[key], whole[key])


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_groups_keep_their_names_and_follow_the_rate(name: str) -> None:
    params = parameters()
    optimizer = build(name, params)
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert all(group["initial_lr"] == group["lr"] == LR for group in optimizer.param_groups)
    assert sorted({group["name"] for group in optimizer.param_groups}) == ["first", "others"]
    assert sorted(n for group in optimizer.param_groups for n in group["names"]) == sorted(SHAPES)
    for group in optimizer.param_groups:
        assert group["weight_decay"] == (DECAY if group["params"][0].ndim >= 2 else 0)
        group["lr"] = 0.0
    start = {key: p.detach().clone() for key, p in params.items()}
    run(optimizer, params, gradients(2))
    assert all(torch.equal(p, start[key]) for key, p in params.items())


def test_the_stage_s_groups_stay_as_they_are() -> None:
    given = groups(parameters())
    before = [dict(group) for group in given]
    optim.optimizer("muon", lr=LR, weight_decay=DECAY)(given)
    assert [set(group) for group in given] == [set(group) for group in before]
    assert all(len(a["params"]) == len(b["params"]) for a, b in zip(given, before, strict=True))


@pytest.mark.parametrize("name", ["sgd", "momentum", "adagrad", "adam", "adamw"])
def test_fused_kernels_are_used(name: str) -> None:
    assert all(group["fused"] for group in build(name, parameters(torch.float32)).param_groups)


@pytest.mark.slow
def test_training_does_not_import_the_compiler(tmp_path: Path) -> None:
    code = f"""if True:
        import sys, torch, shendu
        from shendu import optim
        shendu.train("mlp", "digits", steps=1, out={str(tmp_path / "run")!r}, quiet=True)
        for name in optim.OPTIMIZERS:
            layer = torch.nn.Linear(2, 2)
            groups = [{{"name": "all", "names": ["weight", "bias"], "params": list(layer.parameters())}}]
            made = optim.optimizer(name, lr=0.1)(groups)
            layer(torch.ones(1, 2)).sum().backward()
            made.step()
            made.load_state_dict(made.state_dict())
        sys.exit("torch._dynamo" in sys.modules)
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_one_group_where_nothing_decays() -> None:
    assert len(build("adam", parameters(), weight_decay=0.0).param_groups) == 2


@pytest.mark.parametrize(
    ("name", "numbers", "text"),
    [
        ("lbfgs", {}, "closure"),
        ("adm", {}, "did you mean 'adam'"),
        ("sgd", {"lr": 0.0}, "lr=0 is not a positive number"),
        ("sgd", {"lr": math.nan}, "lr=nan"),
        ("momentum", {"momentum": 1.0}, "momentum=1 does not work"),
        ("nesterov", {"momentum": 0.0}, "momentum=0 does not work for nesterov"),
        ("adam", {"weight_decay": -1.0}, "weight_decay=-1"),
        ("adam", {"betas": (0.9, 1.0)}, "betas="),
    ],
)
def test_mistakes_are_told(name: str, numbers: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError, match=text) as caught:
        optim.optimizer(name, **{"lr": 0.1, **numbers})
    assert "\n" not in str(caught.value)


# ---- schedules


@pytest.mark.parametrize(
    ("name", "numbers", "table"),
    [
        ("constant", {}, {0: 1, 50: 1, 99: 1}),
        ("step", {}, {0: 1, 49: 1, 50: 0.1, 74: 0.1, 75: 0.01, 99: 0.01}),
        ("step", {"gamma": 0.5, "at": (0.1, 0.2, 0.9)}, {9: 1, 10: 0.5, 20: 0.25, 89: 0.25, 90: 0.125}),
        ("cosine", {}, {0: 1, 25: 0.5 + math.sqrt(0.125), 50: 0.5, 100: 0, 120: 0}),
        ("cosine", {"floor": 0.1}, {0: 1, 50: 0.55, 100: 0.1}),
        ("one-cycle", {"warm_up": 0.2, "start": 0.5}, {0: 0.5, 10: 0.75, 20: 1, 60: 0.5, 100: 0, 120: 0}),
        ("one-cycle", {"warm_up": 0.2, "shape": "cosine"}, {0: 0.04, 10: 0.52, 20: 1, 60: 0.5, 100: 0, 120: 0}),
        ("one-cycle", {}, {0: 0.04, 15: 1, 100: 0}),
        ("one-cycle", {"warm_up": 0.0}, {0: 1, 50: 0.5}),
        ("warmup-linear", {}, {0: 1 / 11, 4: 5 / 11, 10: 1, 55: 0.5, 100: 0, 120: 0}),
        ("warmup-linear", {"warm_up": 0.0}, {0: 1, 50: 0.5}),
        ("inverse-sqrt", {"warm_up": 0.04}, {0: 0.25, 1: 0.5, 3: 1, 15: 0.5, 35: 1 / 3, 63: 0.25, 99: 0.2}),
        ("inverse-sqrt", {"warm_up": 0.0}, {0: 1, 3: 0.5}),
    ],
)
def test_tables(name: str, numbers: dict[str, Any], table: dict[int, float]) -> None:
    factor = optim.schedule(name, **numbers)
    assert {step: pytest.approx(factor(step, 100), abs=1e-12) for step in table} == table


def torchs(build: Any, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = build(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("steps", [40, 97])
def test_schedules_are_torchs_where_it_has_them(steps: int) -> None:
    them = torch.optim.lr_scheduler
    warm = int(0.1 * steps)
    pairs = [
        (optim.schedule("cosine", floor=0.1), lambda o: them.CosineAnnealingLR(o, steps, eta_min=0.1)),
        (
            optim.schedule("step"),
            lambda o: them.MultiStepLR(o, [math.ceil(steps / 2), math.ceil(steps * 3 / 4)], 0.1),
        ),
        (
            optim.schedule("one-cycle"),
            lambda o: them.OneCycleLR(
                o,
                1.0,
                total_steps=steps + 1,
                pct_start=(0.15 * steps + 1) / (steps + 1),
                anneal_strategy="linear",
                final_div_factor=1e15,
                cycle_momentum=False,
            ),
        ),
        (
            optim.schedule("warmup-linear"),
            lambda o: them.SequentialLR(
                o,
                [
                    them.LinearLR(o, start_factor=1 / (warm + 1), total_iters=warm),
                    them.LinearLR(o, start_factor=1.0, end_factor=0.0, total_iters=steps - warm),
                ],
                [warm],
            ),
        ),
    ]
    for ours, theirs in pairs:
        assert [ours(step, steps) for step in range(steps)] == pytest.approx(torchs(theirs, steps), abs=1e-9)


@pytest.mark.parametrize("name", optim.SCHEDULES)
def test_factors_are_between_0_and_1_for_any_length(name: str) -> None:
    factor = optim.schedule(name)
    for steps, step in itertools.product((0, 1, 2, 3, 7, 1000), (0, 1, 2, 6, 999, 2000)):
        assert 0 <= factor(step, steps) <= 1
        assert steps == 0 or step >= steps or factor(step, steps) > 0


@pytest.mark.parametrize(
    ("name", "numbers", "text"),
    [
        ("cosin", {}, "did you mean 'cosine'"),
        ("cosine", {"gamma": 0.1}, "schedule 'cosine' has no number 'gamma'"),
        ("one-cycle", {"warm_up": 2.0}, "warm_up=2.0 is not between 0 and 1"),
        ("one-cycle", {"shape": "cosin"}, "did you mean 'cosine'"),
        ("step", {"at": (0.5, 60)}, "is not between 0 and 1"),
    ],
)
def test_a_wrong_schedule_is_told(name: str, numbers: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError, match=text):
        optim.schedule(name, **numbers)
