"""What each metric is measured on, and its figures by other code: numpy, scikit-learn, sacrebleu, loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import sacrebleu
import torch
from scipy.optimize import brentq
from scipy.special import log_softmax
from sklearn import metrics as sk
from splits import rand
from torch import Tensor

from shendu.core import MASKED, Batch, Metric, Outputs
from shendu.metrics.classes import AUC, CrossEntropy, Hits
from shendu.metrics.numbers import Errors, ForecastErrors, Mean
from shendu.metrics.pairs import OneShot, Verification
from shendu.metrics.text import BLEU, Nats

N, C = 203, 4
HIGHER = {"accuracy", "auc", "r2", "bleu", "true-accept-rate", "rank-1", "one-shot"}
"""Figures of which more is better."""

Figures = dict[str, float]


class Case(NamedTuple):
    metric: Metric
    outputs: Outputs
    batch: Batch
    of: Callable[[np.ndarray], Figures]
    """The figures of some units (rows, or moments of a series) by their numbers, one of which may stand there several times."""
    close: float = 1e-12
    """How far apart, relatively, two ways of computing it may be: float32 in part, or not at all."""
    units: int = N


LOGITS, LABELS = 3 * rand(N, C, seed=0), (rand(N, seed=1) * 7).long() % C
VALUES = rand(N, 3, seed=3)
TARGETS = 1.5 * VALUES + rand(N, 3, seed=4) + 5
CHARACTERS = torch.randint(0, 5, (50,), generator=torch.Generator().manual_seed(2))
TOKENS = torch.randint(0, 50, (N, 9), generator=torch.Generator().manual_seed(3))
TOKENS[-1, 4:] = MASKED
SENTENCES = 40
WORDS = torch.randint(0, 5, (SENTENCES, 12), generator=torch.Generator().manual_seed(4))
TOLD = torch.where(rand(SENTENCES, 12, seed=5) > 0.4, WORDS, WORDS.roll(1, 1))
STEPS = torch.arange(N)[:, None] + torch.arange(6)
MOMENTS = N + 5
SERIES = rand(MOMENTS, seed=6).cumsum(0).double()
FORECAST = SERIES[STEPS] + rand(MOMENTS, seed=7)[STEPS] + 0.1 * rand(N, 6, seed=8)
KIND = torch.randint(0, 20, (N,), generator=torch.Generator().manual_seed(5))
EMBEDDINGS = rand(20, 8, seed=9)[KIND] + rand(N, 8, seed=10)
MAPS = rand(60, C, 5, 3, seed=11)
PLACES = torch.arange(900).reshape(60, 5, 3) % C
NEAR = MAPS + rand(*MAPS.shape, seed=12)
SIGNS = 2 * (LABELS > 1).long() - 1


def words(codes: Tensor) -> list[str]:
    return [" ".join(["the", "cat", "sat", "on", "mats"][code] for code in row) for row in codes.tolist()]


# ---- classes ---------------------------------------------------------------------------------------------------------


def flat(logits: Tensor, labels: Tensor, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits float64 [P, C] and labels [P] of all places of some rows."""
    return logits[rows].double().movedim(1, -1).reshape(-1, C).numpy(), labels[rows].numpy().ravel()


def shares(logits: Tensor, labels: Tensor) -> Callable[[np.ndarray], Figures]:
    def of(rows: np.ndarray) -> Figures:
        o, y = flat(logits, labels, rows)
        right = sk.accuracy_score(y, o.argmax(1))
        return {"accuracy": right, "error-rate": 1 - right}

    return of


def signs(logits: Tensor, second: Tensor) -> Callable[[np.ndarray], Figures]:
    def of(rows: np.ndarray) -> Figures:
        right = sk.accuracy_score(second[rows].numpy(), logits[rows].numpy().ravel() > 0)
        return {"accuracy": right, "error-rate": 1 - right}

    return of


def likelihood(logits: Tensor, labels: Tensor) -> Callable[[np.ndarray], Figures]:
    def of(rows: np.ndarray) -> Figures:
        o, y = flat(logits, labels, rows)
        return {"cross-entropy": sk.log_loss(y, np.exp(log_softmax(o, 1)), labels=range(C))}

    return of


def of_signs(rows: np.ndarray) -> Figures:
    p = 1 / (1 + np.exp(-LOGITS[rows, 0].double().numpy()))
    return {"cross-entropy": sk.log_loss(SIGNS[rows].numpy(), p, labels=[-1, 1])}


def area(scores: Tensor, second: Tensor) -> Callable[[np.ndarray], Figures]:
    return lambda rows: {"auc": sk.roc_auc_score(second[rows].numpy(), scores[rows].double().numpy())}


# ---- numbers ---------------------------------------------------------------------------------------------------------


def errors(value: Tensor, truth: Tensor) -> Callable[[np.ndarray], Figures]:
    def of(rows: np.ndarray) -> Figures:
        y, o = (t[rows].double().reshape(len(rows), -1).numpy() for t in (truth, value))
        squares, sizes = sk.mean_squared_error(y, o), sk.mean_absolute_error(y, o)
        return {"rmse": math.sqrt(squares), "mae": sizes, "r2": sk.r2_score(y, o)}

    return of


def of_moments(moments: np.ndarray) -> Figures:
    """Each moment with all that was forecast for it."""
    at, value = STEPS.numpy().ravel(), FORECAST.numpy().ravel()
    every = [np.flatnonzero(at == moment) for moment in range(MOMENTS)]
    places = np.concatenate([every[moment] for moment in moments])
    y, o = SERIES.numpy()[at[places]], value[places]
    off = np.abs(o - y)
    share = 200 * off / (np.abs(o) + np.abs(y))
    return {"mase": off.mean() / 1.7, "mae": off.mean(), "rmse": np.sqrt((off**2).mean()), "smape": share.mean()}


# ---- text ------------------------------------------------------------------------------------------------------------


def of_tokens(rows: np.ndarray) -> Figures:
    nats = tokens = begun = 0.0
    for row in rows.tolist():
        there = [token for token in TOKENS[row].tolist() if token != MASKED]
        nats += float(VALUES[row, 0].abs().double()) * len(there)
        tokens += len(there)
        begun += sum(CHARACTERS[there].tolist())
    return {
        "loss": nats / tokens,
        "perplexity": math.exp(nats / tokens),
        "bits-per-character": nats / begun / math.log(2),
    }


def of_sentences(rows: np.ndarray) -> Figures:
    return {"bleu": sacrebleu.corpus_bleu(words(TOLD[rows]), [words(WORDS[rows])], lowercase=True).score}


# ---- pairs -----------------------------------------------------------------------------------------------------------


def of_pairs(rows: np.ndarray) -> Figures:
    z, y = EMBEDDINGS[rows].double().numpy(), KIND[rows].numpy()
    i, j = np.triu_indices(len(rows), 1)
    cosine = (z[i] * z[j]).sum(1) / np.linalg.norm(z[i], axis=1) / np.linalg.norm(z[j], axis=1)
    false, true, _ = sk.roc_curve(y[i] == y[j], cosine, drop_intermediate=False)
    equal = brentq(lambda x: 1 - x - np.interp(x, false, true), 0, 1, xtol=1e-15)
    return {"equal-error-rate": equal, "true-accept-rate": true[false <= 0.05].max()}


def shown(ways: int, name: str) -> Callable[[np.ndarray], Figures]:
    """Each row but the first of its class among the first ones of its episode; these stay where rows are drawn."""
    y, z = KIND.tolist(), EMBEDDINGS.double().numpy()
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    found = sorted(set(y))
    episodes = [found[i : i + ways] for i in range(0, len(found), ways)] if ways else [found]
    right: dict[int, bool] = {}
    for kinds in (each for each in episodes if not ways or len(each) == ways):
        first = [y.index(kind) for kind in kinds]
        for row in (row for row in range(N) if y[row] in kinds and row not in first):
            right[row] = kinds[int(np.argmax(z[first] @ z[row]))] == y[row]
    return lambda rows: {name: float(np.mean([right[row] for row in rows.tolist() if row in right]))}


BITS = 2e-6
"""Of figures that are computed in float32 row by row."""
CASES: dict[str, Case] = {
    "hits": Case(Hits(), {"logits": LOGITS}, {"y": LABELS}, shares(LOGITS, LABELS)),
    "hits of maps": Case(Hits(), {"logits": MAPS}, {"y": PLACES}, shares(MAPS, PLACES), units=60),
    "hits of signs": Case(Hits(), {"logits": LOGITS[:, 0]}, {"y": SIGNS}, signs(LOGITS[:, 0], SIGNS > 0)),
    "hits of one column": Case(Hits(), {"logits": LOGITS[:, :1]}, {"y": LABELS > 1}, signs(LOGITS[:, 0], LABELS > 1)),
    "nats": Case(CrossEntropy(), {"logits": LOGITS}, {"y": LABELS}, likelihood(LOGITS, LABELS), BITS),
    "nats of maps": Case(CrossEntropy(), {"logits": MAPS}, {"y": PLACES}, likelihood(MAPS, PLACES), BITS, 60),
    "nats of signs": Case(CrossEntropy(), {"logits": LOGITS[:, :1]}, {"y": SIGNS}, of_signs, BITS),
    "nats in float64": Case(CrossEntropy(), {"logits": LOGITS.double()}, {"y": LABELS}, likelihood(LOGITS, LABELS)),
    "auc": Case(  # rounded: a fifth of the pairs are tied
        AUC(),
        {"logits": (2 * LOGITS[:, :2]).round()},
        {"y": LABELS % 2},
        area((2 * LOGITS[:, :2]).round().diff()[:, 0], LABELS % 2),
    ),
    "auc of scores": Case(AUC(), {"logits": LOGITS[:, :1]}, {"y": SIGNS}, area(LOGITS[:, 0], SIGNS)),
    "errors": Case(Errors(), {"value": VALUES, "truth": TARGETS}, {"y": TARGETS}, errors(VALUES, TARGETS)),
    "errors of one number": Case(
        Errors(), {"value": VALUES[:, :1], "truth": TARGETS[:, 0]}, {"y": LABELS}, errors(VALUES[:, :1], TARGETS[:, 0])
    ),
    "errors of maps": Case(Errors(), {"value": MAPS, "truth": NEAR}, {"y": PLACES}, errors(MAPS, NEAR), units=60),
    "forecast": Case(
        ForecastErrors(1.7),
        {"value": FORECAST, "truth": SERIES[STEPS]},
        {"y": SERIES[STEPS], "group": STEPS},
        of_moments,
        units=MOMENTS,
    ),
    "mean": Case(
        Mean("energy"),
        {"energy": VALUES[:, 1]},
        {"y": LABELS},
        lambda rows: {"energy": VALUES[rows, 1].double().numpy().mean()},
    ),
    "text": Case(Nats(CHARACTERS), {"nats": VALUES[:, 0].abs()}, {"y": TOKENS}, of_tokens),
    "bleu": Case(BLEU(words), {"codes": TOLD}, {"y": WORDS}, of_sentences, units=SENTENCES),
    "verification": Case(Verification(0.05), {"embedding": EMBEDDINGS}, {"y": KIND}, of_pairs, 1e-9),
    "rank-1": Case(OneShot(), {"embedding": EMBEDDINGS}, {"y": KIND}, shown(0, "rank-1")),
    "one-shot": Case(OneShot(6, "one-shot"), {"embedding": EMBEDDINGS}, {"y": KIND}, shown(6, "one-shot")),
}
