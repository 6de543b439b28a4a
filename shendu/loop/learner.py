"""What is trained: model and objective as one module, and which of its parameters move."""

from __future__ import annotations

from torch import Tensor, nn

from shendu.core import Batch, Groups, Loss, Objective


class Learner(nn.Module):
    """Model and objective behind one forward, so that DDP, FSDP, autocast and compile see every call."""

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, batch: Batch, step: Tensor) -> Loss:
        return self.objective(self.model, batch, step)


def named_groups(learner: Learner, prefixes: tuple[str, ...]) -> Groups:
    """One parameter group per prefix (a whole dotted name, or its beginning up to a dot); the rest is frozen.

    Names are the model's own; the objective's begin with `objective.`. Overlapping or empty groups are an error.
    """
    named = {name.removeprefix("model."): p for name, p in learner.named_parameters()}
    offered = {n: p for n, p in named.items() if p.requires_grad or not n.startswith("objective.")}
    taken: set[str] = set()
    groups: Groups = []
    for prefix in prefixes:
        names = [n for n in offered if not prefix or n == prefix or n.startswith(prefix + ".")]
        assert names, f"trains={prefixes}: no parameter is called {prefix!r}"
        assert not taken.intersection(names), (
            f"trains={prefixes}: groups overlap at {sorted(taken.intersection(names))[0]}"
        )
        taken.update(names)
        groups.append({"name": prefix or "all", "names": names, "params": [offered[n] for n in names]})
    for name, p in named.items():
        p.requires_grad_(name in taken)
    return groups


def set_modes(learner: nn.Module) -> None:
    """Train mode; whole modules with weights of which none is trained (an objective's teacher too) run in eval mode."""
    learner.train()
    for module in learner.modules():
        parameters = list(module.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            module.eval()
