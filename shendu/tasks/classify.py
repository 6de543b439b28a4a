"""Classify: one of several classes per row.

Shape letters: B rows, C classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from shendu.core import Batch, Json, Metric, Outputs
from shendu.metrics.classes import AUC, CrossEntropy, Hits, Predictions
from shendu.nn.softened import softened
from shendu.tasks import Again, Section, Task, Told

if TYPE_CHECKING:
    from shendu.metrics.evaluation import Measured

CLASSES_WRITTEN = 50
"""Up to so many classes each have a column of their own in a table of predictions."""


class Classify(Task):
    """The target is a category; outputs are `logits` [B, C]."""

    kind = "classify"
    purpose = "predict"

    @property
    def labels(self) -> tuple[str, ...]:
        return self.targets["y"].names  # type: ignore[attr-defined]

    @property
    def values(self) -> tuple[Any, ...]:
        """The labels as the Python values that they were; texts of labels from a file."""
        return self.targets["y"].values  # type: ignore[attr-defined]

    def outputs(self, model: Any, batch: Batch) -> Outputs:
        return {"logits": model(*self.taken(batch))}

    def shown(self) -> Json:
        return {"answer": "classes", "labels": list(self.labels)}

    def saying(self) -> str:
        return "labels[said[0].argmax()], said.tolist()"

    def distance(self, outputs: Tensor, taught: Tensor, temperature: float) -> Tensor:
        """[B]: Kullback-Leibler divergence of softened probabilities, times the temperature squared (Hinton et al. 2015)."""
        return softened(outputs, taught, temperature)

    def metrics(self) -> dict[str, Metric]:
        ranked: dict[str, Metric] = {"auc": AUC()} if len(self.labels) == 2 else {}
        return {"hits": Hits(), "cross-entropy": CrossEntropy(), **ranked, "predictions": Predictions()}

    def warning(self, measured: Measured, part: str) -> str:
        if "accuracy" not in measured.intervals:
            return ""
        counts = torch.bincount(measured.rows["predictions"][:, 0].long())
        share = counts.max().item() / int(counts.sum())
        if measured.intervals["accuracy"][0] > share:
            return ""
        simplest = f"one that always says {self.labels[int(counts.argmax())]}, which is right in {share:.1%} of them"
        return f"{int(counts.sum()):,} {part} rows do not tell this model from {simplest}"

    def said(self, outputs: Outputs) -> Batch:
        return {"y": chosen(outputs["logits"])}

    def score(self, model: Any, batch: Batch) -> Tensor:
        """The logit of each row's class."""
        logits = self.outputs(model, batch)["logits"].float()
        return logits.gather(1, batch["y"][:, None])[:, 0] if logits.shape[1] > 1 else logits[:, 0]

    def explained(self) -> bool:
        return True

    def sureness(self, outputs: Outputs, said: Batch) -> Tensor:
        return outputs["logits"].float().softmax(1)[:, int(said["y"][0])]

    def odds(self, outputs: Outputs, said: Batch) -> Tensor:
        logits, one = outputs["logits"].float(), int(said["y"][0])
        return logits[:, one] - torch.cat([logits[:, :one], logits[:, one + 1 :]], 1).logsumexp(1)

    def kinds(self, measured: Measured) -> Tensor:
        """The true classes."""
        return measured.rows["predictions"][:, 0]

    def badness(self, outputs: Outputs, batch: Batch) -> Tensor:
        """How sure the model is of a wrong class."""
        sure, predicted = sureness(outputs["logits"])
        return sure * (predicted != batch["y"])

    def decode(self, outputs: Outputs, stored: Batch) -> list[dict[str, Json]]:
        """Per row `label`, its `probability`, and all `probabilities`."""
        rows, values = [], self.values
        for row in outputs["logits"].softmax(-1).cpu().tolist():
            best = max(range(len(row)), key=row.__getitem__)
            shares = dict(zip(values, row, strict=True))
            rows.append({"label": values[best], "probability": row[best], "probabilities": shares})
        return rows

    def columns(self, outputs: Outputs, stored: Batch) -> dict[str, Any]:
        """The same as columns of a table, each class's probability in `p_<class>`."""
        shares = outputs["logits"].softmax(-1).cpu().numpy()
        written = self.labels if len(self.labels) <= CLASSES_WRITTEN else ()
        values = self.values
        said = [values[i] for i in shares.argmax(1).tolist()]
        each = {f"p_{name}": shares[:, i] for i, name in enumerate(written)}
        return {"label": said, "probability": shares.max(1), **each}

    def answers(self) -> Json:
        return {"label": list(self.values), "probability": "0 to 1", "probabilities": "of each class"}

    def tell(self, outputs: Outputs, batch: Batch, stored: Batch) -> list[Told]:
        sure, predicted = sureness(outputs["logits"])
        rows = zip(predicted.tolist(), batch["y"].tolist(), sure.tolist(), strict=True)
        return [Told(self.labels[p], self.labels[t], f"{100 * s:.1f}%", p == t) for p, t, s in rows]

    def sections(self, measured: Measured, again: Again, model: Any, part: str) -> list[Section]:
        from shendu.pages import cards, classes, galleries

        told = classes.sections(self.labels, measured.rows["predictions"], part)
        return [*galleries.drawings(self, model), *told, cards.worst(self, measured, again, part)]


def chosen(logits: Tensor) -> Tensor:
    """The class that is said [B], of logits [B, C]."""
    return sureness(logits)[1]


def sureness(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The probability of the likeliest class, and the class, [B] each."""
    shares = F.softmax(logits.float().nan_to_num(), 1)
    return shares.max(1)
