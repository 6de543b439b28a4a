"""What each metric is measured on, and the figures of other code for the same."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from splits import rand
from torch import Tensor

from shendu.core import MASKED, Batch, Metric, Outputs
from shendu.metrics import running
from shendu.metrics.classes import AUC, CrossEntropy, Hits
from shendu.metrics.numbers import Errors, ForecastErrors, Mean
from shendu.metrics.pairs import OneShot, Verification
from shendu.metrics.text import BLEU, Nats

N, C = 203, 4


class Case(NamedTuple):
    metric: Metric
    outputs: Outputs
    batch: Batch
    old: dict[str, Callable[[], running.Running]]
    """Figure -> the metric that keeps sums, which reads the only output."""


LOGITS, LABELS = 3 * rand(N, C, seed=0), (rand(N, seed=1) * 7).long() % C
VALUES = rand(N, 3, seed=3)
TARGETS = 1.5 * VALUES + rand(N, 3, seed=4) + 5
CHARACTERS = torch.randint(0, 5, (50,), generator=torch.Generator().manual_seed(2))
TOKENS = torch.randint(0, 50, (N, 9), generator=torch.Generator().manual_seed(3))
TOKENS[-1, 4:] = MASKED
WORDS = torch.randint(0, 5, (N, 12), generator=torch.Generator().manual_seed(4))
TOLD = torch.where(rand(N, 12, seed=5) > 0.4, WORDS, WORDS.roll(1, 1))
STEPS = torch.arange(N)[:, None] + torch.arange(6)
SERIES = rand(N + 5, seed=6).cumsum(0).double()
FORECAST = SERIES[STEPS] + rand(N + 5, seed=7)[STEPS] + 0.1 * rand(N, 6, seed=8)
KIND = torch.randint(0, 20, (N,), generator=torch.Generator().manual_seed(5))
EMBEDDINGS = rand(20, 8, seed=9)[KIND] + rand(N, 8, seed=10)


def words(codes: Tensor) -> list[str]:
    return [" ".join(["the", "cat", "sat", "on", "mats"][code] for code in row) for row in codes.tolist()]


HITS: dict[str, Callable[[], running.Running]] = {"accuracy": running.Accuracy, "error-rate": running.ErrorRate}
ERRORS: dict[str, Callable[[], running.Running]] = {"rmse": running.RMSE, "mae": running.MAE, "r2": running.R2}
PAIRED: dict[str, Callable[[], running.Running]] = {
    "equal-error-rate": running.EqualErrorRate, "true-accept-rate": partial(running.TrueAccepts, 0.05)
}  # fmt: skip
MAPS = rand(60, C, 5, 3, seed=11)
PLACES = torch.arange(900).reshape(60, 5, 3) % C
SIGNS = 2 * (LABELS > 1).long() - 1

CASES: dict[str, Case] = {
    "hits": Case(Hits(), {"logits": LOGITS}, {"y": LABELS}, HITS),
    "hits of maps": Case(Hits(), {"logits": MAPS}, {"y": PLACES}, HITS),
    "hits of signs": Case(Hits(), {"logits": LOGITS[:, 0]}, {"y": SIGNS}, HITS),
    "hits of one column": Case(Hits(), {"logits": LOGITS[:, :1]}, {"y": LABELS > 1}, HITS),
    "nats": Case(CrossEntropy(), {"logits": LOGITS}, {"y": LABELS}, {"cross-entropy": running.CrossEntropy}),
    "nats of maps": Case(CrossEntropy(), {"logits": MAPS}, {"y": PLACES}, {"cross-entropy": running.CrossEntropy}),
    "nats of signs": Case(
        CrossEntropy(), {"logits": LOGITS[:, :1]}, {"y": SIGNS}, {"cross-entropy": running.CrossEntropy}
    ),
    "nats in float64": Case(
        CrossEntropy(), {"logits": LOGITS.double()}, {"y": LABELS}, {"cross-entropy": running.CrossEntropy}
    ),
    "auc": Case(AUC(), {"logits": (2 * LOGITS[:, :2]).round()}, {"y": LABELS % 2}, {"auc": running.AUC}),
    "auc of scores": Case(AUC(), {"logits": LOGITS[:, :1]}, {"y": SIGNS}, {"auc": running.AUC}),
    "errors": Case(Errors(), {"value": VALUES}, {"y": TARGETS}, ERRORS),
    "errors of one number": Case(Errors(), {"value": VALUES[:, :1]}, {"y": TARGETS[:, 0]}, ERRORS),
    "errors of maps": Case(Errors(), {"value": MAPS}, {"y": MAPS + rand(*MAPS.shape, seed=12)}, ERRORS),
    "forecast": Case(
        ForecastErrors(1.7),
        {"value": FORECAST},
        {"y": SERIES[STEPS], "group": STEPS},
        {"mase": partial(running.MASE, 1.7), "mae": running.MAE, "rmse": running.RMSE, "smape": running.SMAPE},
    ),
    "mean": Case(Mean("energy"), {"energy": VALUES[:, 1]}, {"y": LABELS}, {"energy": partial(running.Score, 0)}),
    "text": Case(
        Nats(CHARACTERS),
        {"nats": VALUES[:, 0].abs()},
        {"y": TOKENS},
        {
            "loss": running.NatsPerToken,
            "perplexity": running.Perplexity,
            "bits-per-character": partial(running.BitsPerCharacter, CHARACTERS),
        },
    ),
    "bleu": Case(BLEU(words), {"codes": TOLD}, {"y": WORDS}, {"bleu": partial(running.BLEU, words)}),
    "verification": Case(Verification(0.05), {"embedding": EMBEDDINGS}, {"y": KIND}, PAIRED),
    "rank-1": Case(OneShot(), {"embedding": EMBEDDINGS}, {"y": KIND}, {"rank-1": running.OneShot}),
    "one-shot": Case(
        OneShot(6, "one-shot"), {"embedding": EMBEDDINGS}, {"y": KIND}, {"one-shot": partial(running.OneShot, 6)}
    ),
}
