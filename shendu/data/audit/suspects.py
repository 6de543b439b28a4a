"""Labels that a model which has not seen them disagrees with: out-of-fold predictions of a closed-form model.

The model is ridge regression on the classes (Hoerl and Kennard 1970) over fixed features: random patches as filters for
what has two dimensions (Coates, Ng and Lee 2011), counts of words, else the values and random units of them. Which labels
are suspicious follows confident learning (Northcutt, Jiang and Chuang, Journal of Artificial Intelligence Research 2021).

Shape letters: N rows, D features, K classes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d, adaptive_avg_pool2d, conv2d, cross_entropy, interpolate, one_hot

from shendu import chance
from shendu.data.moments import chunks
from shendu.field import Field

FOLDS, SEED = 5, 20261122
ROWS_MOST = 20_000
"""The most rows that are judged; of more so many are drawn."""
PATCH, FILTERS, SIDE, CELLS = 6, 128, 32, 2
"""Random patches: their side, how many, the side that pictures are brought to, and the cells a side that are averaged over."""
UNITS, FLAT_MOST, WORDS_MOST = 512, 1024, 2000
"""Random units of flat inputs; the most of their values, and of the words, that are kept."""
RIDGES = (1e-3, 1e-2, 1e-1, 1.0)
"""Penalties to choose from, relative to the mean variance."""
FAR = 0.02
"""A label is suspicious where its probability is below this share of what its class's rows have on average."""


def features(field: Field, rows: np.ndarray) -> Tensor:
    """Stored rows of any field -> float32 [N, D]."""
    numbers, codes, words = field.taken_apart(_prepared(field, rows))
    parts = [of_words(ids.long()) for ids in words]
    if codes:
        numbers = torch.cat([numbers, of_codes(codes, FLAT_MOST - numbers.shape[1])], 1)
    if numbers.numel():
        parts.insert(0, of_pictures(numbers) if numbers.dim() == 4 else of_numbers(numbers))
    return torch.cat(parts, 1)


def _prepared(field: Field, rows: np.ndarray) -> Tensor:
    """What a network would take; of pictures and spectrograms only the areas that are looked at."""
    done, fit = [], {name: torch.tensor(values) for name, values in field.statistics().items()}
    for piece in chunks(rows):
        x = field.prepare({"": torch.from_numpy(piece)}, fit)[""]
        done.append(_shrunk(x).contiguous() if x.dim() == 4 else x)
    return torch.cat(done)


def _shrunk(x: Tensor) -> Tensor:
    size = [min(SIDE, side) for side in x.shape[2:]]
    return x if list(x.shape[2:]) == size else interpolate(x, size=size, mode="area")


# ---- features --------------------------------------------------------------------------------------------------------


def of_pictures(x: Tensor) -> Tensor:
    """float32 [N, C, H, W] -> [N, 2 * CELLS² * FILTERS + 16 * C]: whitened random patches as filters, rectified both ways.

    The patches know form alone; how bright each part of a picture is stands beside them.
    """
    patch = min(PATCH, *x.shape[2:])
    filters, stride = _filters(x, patch), 2 if min(x.shape[2:]) > 16 else 1
    done = []
    for part in x.split(64):
        seen = conv2d(part, filters, stride=stride) / _levels(part, patch, stride)
        done.append(
            torch.cat([adaptive_avg_pool2d((sign * seen - 0.25).relu(), CELLS).flatten(1) for sign in (1, -1)], 1)
        )
    return torch.cat([torch.cat(done), adaptive_avg_pool2d(x, 4).flatten(1)], 1)


def _levels(x: Tensor, patch: int, stride: int) -> Tensor:
    """The standard deviation of every patch, [N, 1, H', W'], so that filters see its form and not its contrast."""
    kernel = x.new_full((1, x.shape[1], patch, patch), 1 / (x.shape[1] * patch * patch))
    mean = conv2d(x, kernel, stride=stride)
    return (conv2d(x.square(), kernel, stride=stride) - mean.square()).clamp(min=0).add(0.05).sqrt()


def _filters(x: Tensor, patch: int) -> Tensor:
    """Filters [FILTERS, C, patch, patch] that whiten a patch and compare it with random whitened ones."""
    draw = chance.generator(SEED, 1)
    count = 20 * FILTERS * 4
    rows = torch.randint(len(x), (count,), generator=draw)
    top, left = (torch.randint(side - patch + 1, (count,), generator=draw) for side in x.shape[2:])
    down, right = (at[:, None] + torch.arange(patch) for at in (top, left))
    patches = x[rows[:, None, None], :, down[:, :, None], right[:, None, :]].permute(0, 3, 1, 2).flatten(1)
    mean = patches.mean(1, keepdim=True)
    level = ((patches - mean).square().mean(1, keepdim=True) + 0.05).sqrt()
    patches = (patches - mean) / level
    centre = patches.mean(0)
    values, vectors = torch.linalg.eigh((patches - centre).T @ (patches - centre) / len(patches))
    whiten = vectors / (values.clamp(min=0) + 0.1 * values.mean() + 1e-6).sqrt() @ vectors.T
    white = (patches - centre) @ whiten
    alive = white[white.norm(dim=1) > 0.1 * white.norm(dim=1).mean()]
    chosen = alive[:FILTERS] / alive[:FILTERS].norm(dim=1, keepdim=True).clamp(min=1e-6)
    filters = chosen @ whiten
    filters = filters - filters.mean(1, keepdim=True)  # takes the patch's own mean out
    return filters.reshape(-1, x.shape[1], patch, patch)


def of_numbers(x: Tensor) -> Tensor:
    """float32 [N, ...] -> the values (NaN as the mean, and a mark), and UNITS random cosines of them."""
    flat = x.flatten(1)
    if flat.shape[1] > FLAT_MOST:
        flat = adaptive_avg_pool1d(flat[:, None], FLAT_MOST)[:, 0]
    missing = flat.isnan()
    flat = _standard(flat.nan_to_num(0.0, 0.0, 0.0)).clamp(-5, 5)
    flat = torch.cat([flat, missing[:, missing.any(0)].float()], 1)
    draw = chance.generator(SEED, 2)
    weights = torch.randn(flat.shape[1], UNITS, generator=draw) / max(1, flat.shape[1]) ** 0.5
    shift = torch.rand(UNITS, generator=draw) * 6.2832
    return torch.cat([flat, (flat @ weights + shift).cos()], 1)


def of_codes(codes: tuple[tuple[Tensor, int], ...], most: int) -> Tensor:
    """Codes [N], each with how many there are -> float32 [N, most or fewer]: a column for each of the most frequent."""
    hot = torch.cat([one_hot(values.long(), size).bool() for values, size in codes], 1)
    kept = hot.sum(0).argsort(descending=True, stable=True)[:most]
    return hot[:, kept].float()


def of_words(ids: Tensor) -> Tensor:
    """Word ids int64 [N, length], 0 padding -> log counts of the WORDS_MOST most frequent, weighted by rarity."""
    words = int(ids.max()) + 1
    frequent = torch.bincount(ids.flatten(), minlength=words)
    frequent[:2] = 0  # padding and the unknown word
    kept = frequent.argsort(descending=True, stable=True)[:WORDS_MOST]
    place = torch.full((words,), len(kept))
    place[kept] = torch.arange(len(kept))
    counts = torch.zeros(len(ids), len(kept) + 1)
    counts.scatter_add_(1, place[ids], torch.ones(ids.shape))
    counts = counts[:, :-1]
    rarity = (len(ids) / (1 + (counts > 0).sum(0))).log().clamp(min=0)
    weighted = counts.log1p() * rarity
    return weighted / weighted.norm(dim=1, keepdim=True).clamp(min=1e-6)


def _standard(x: Tensor) -> Tensor:
    std, mean = torch.std_mean(x, 0, correction=0)
    return (x - mean) / torch.where(std > 1e-6, std, torch.inf)


# ---- out of fold -----------------------------------------------------------------------------------------------------


def folds(y: Tensor, groups: Tensor) -> Tensor:
    """A fold for each row, int64 [N]: equal rows together, classes in equal shares."""
    order = chance.permute(torch.arange(len(y)), len(y), SEED)
    order = order[y[order].argsort(stable=True)]
    fold = torch.empty_like(order)
    fold[order] = torch.arange(len(y)) % FOLDS
    return fold[groups]


def out_of_fold(x: Tensor, y: Tensor, fold: Tensor) -> Tensor:
    """Scores [N, K] of every row by a ridge regression on the rows of the other folds; y float32 [N, K].

    The penalty is that with the least squared error.
    """
    x = torch.cat([_standard(x), torch.ones(len(x), 1)], 1)
    parts = [(x[fold == k], y[fold == k]) for k in range(FOLDS)]
    grams, products = [a.T @ a for a, _ in parts], [a.T @ b for a, b in parts]
    gram, product = torch.stack(grams).sum(0), torch.stack(products).sum(0)
    best, least = torch.zeros_like(y), torch.inf
    size = gram.diagonal().mean()
    for ridge in RIDGES:
        scores = torch.zeros_like(y)
        for k, (a, _) in enumerate(parts):
            eye = torch.eye(x.shape[1]) * ridge * size
            factor, _ = torch.linalg.cholesky_ex(gram - grams[k] + eye)  # one that fails gives scores that lose
            scores[fold == k] = a @ torch.cholesky_solve(product - products[k], factor)
        error = float((scores - y).square().mean().nan_to_num(torch.inf))
        if error < least:
            best, least = scores, error
    return best


def probabilities(scores: Tensor, labels: Tensor) -> Tensor:
    """Scores [N, K] -> probabilities, by the one temperature that makes the labels likeliest (Guo et al. 2017).

    It is found twice, the second time without the labels that the first makes suspicious: they would teach it to be unsure.
    """
    shares = _tempered(scores, labels, torch.ones_like(labels, dtype=torch.bool))
    kept = torch.ones_like(labels, dtype=torch.bool)
    kept[suspicious(shares, labels)[0]] = False
    return _tempered(scores, labels, kept)


def _tempered(scores: Tensor, labels: Tensor, kept: Tensor) -> Tensor:
    factors = torch.logspace(-0.5, 2, 40)
    losses = torch.stack([cross_entropy(scores[kept] * f, labels[kept]) for f in factors])
    return (scores * factors[losses.argmin()]).softmax(1)


def suspicious(shares: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, float]:
    """(rows whose label is far below its class's threshold while another class is above its own, that class, how many
    such rows the model's own uncertainty explains); the worst rows come first.

    A class's threshold is the mean probability that its own rows give it. Were the probabilities the truth, as many rows
    would be found as the probabilities of such labels add up to.
    """
    classes = shares.shape[1]
    count = torch.bincount(labels, minlength=classes)
    own = shares.gather(1, labels[:, None])[:, 0]
    threshold = torch.zeros(classes).scatter_add_(0, labels, own) / count.clamp(min=1)
    most, other = torch.where((shares >= threshold) & (count > 0), shares, -1.0).max(1)
    far = (shares < FAR * threshold) & (most > 0)[:, None]
    far.scatter_(1, other[:, None], False)
    rows = far.gather(1, labels[:, None])[:, 0].nonzero()[:, 0]
    rows = rows[(most - own)[rows].argsort(descending=True, stable=True)]
    return rows, other[rows], float(shares[far].sum())
