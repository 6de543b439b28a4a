"""Beam search held against all sequences there are, and against greedy decoding."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from shendu.nn import beam

PADDING, BEGIN, END, WORDS = 0, 1, 2, (3, 4)
CODES = 5


def language(seed: int) -> Callable[[list[int]], Tensor]:
    """Log-probabilities of what follows a sequence: each sequence has random ones of its own."""

    def logs(sequence: list[int]) -> Tensor:
        number = sum((code + 1) * 7**i for i, code in enumerate(sequence))
        return torch.randn(CODES, generator=torch.Generator().manual_seed(1000 * seed + number)).log_softmax(0)

    return logs


def step_of(languages: list[Callable[[list[int]], Tensor]]) -> beam.Step:
    """A decoder whose state is the sequence so far, and which language it is of."""

    def step(tokens: Tensor, fixed: beam.State, moving: beam.State) -> tuple[Tensor, beam.State]:
        so_far = torch.cat([moving["so far"], tokens[..., None]], 2)
        rows = [
            torch.stack([languages[row](so_far[i, k].tolist()) for k in range(tokens.shape[1])])
            for i, row in enumerate(fixed["row"].tolist())
        ]
        return torch.stack(rows), {"so far": so_far}

    return step


def found(seeds: list[int], limits: list[int], width: int, penalty: float) -> list[list[int]]:
    many = len(seeds)
    rows = beam.search(
        step_of([language(seed) for seed in seeds]), {"row": torch.arange(many)},
        {"so far": torch.zeros(many, 1, 0, dtype=torch.int64)}, torch.tensor(limits), width=width, penalty=penalty,
        begin=BEGIN, end=END, padding=PADDING,
    )  # fmt: skip
    return [[code for code in row if code != PADDING] for row in rows.tolist()]


def score(seed: int, sequence: tuple[int, ...], penalty: float) -> float:
    logs, total = language(seed), 0.0
    for t, code in enumerate(sequence):
        total += float(logs([BEGIN, *sequence[:t]])[code])
    return total / ((5 + len(sequence)) / 6) ** penalty


def best_of_all(seed: int, limit: int, penalty: float) -> list[int]:
    every = [(*words, END) for length in range(limit) for words in itertools.product(WORDS, repeat=length)]
    return list(max(every, key=lambda sequence: score(seed, sequence, penalty)))


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0, 3.0])
def test_a_beam_as_wide_as_all_sequences_finds_the_best(penalty: float) -> None:
    seeds, limits = list(range(12)), [4, 3, 4, 2, 4, 4, 3, 4, 4, 1, 4, 4]
    width = CODES**4
    assert found(seeds, limits, width, penalty) == [
        best_of_all(seed, limit, penalty) for seed, limit in zip(seeds, limits, strict=True)
    ]
    assert len({len(best_of_all(seed, 4, penalty)) for seed in range(12)}) > 1


def test_width_1_is_greedy() -> None:
    for seed in range(20):
        sequence = [BEGIN]
        while sequence[-1] != END and len(sequence) <= 6:
            logs = language(seed)(sequence)
            logs[[PADDING, BEGIN]] = -math.inf
            sequence.append(int(logs.argmax()))
        assert found([seed], [6], 1, 0.6) == [sequence[1:]]


def test_a_wider_beam_is_never_worse_here() -> None:
    """Not a law of beams, but of these seeds: a narrow one that lost its way would show."""
    for seed in range(20):
        scores = [score(seed, tuple(found([seed], [5], width, 0.6)[0]), 0.6) for width in (4, 64)]
        assert scores[1] >= scores[0] - 1e-6


def test_rows_do_not_depend_on_their_neighbours() -> None:
    seeds = list(range(10))
    assert found(seeds, [5] * 10, 3, 0.6) == [found([seed], [5], 3, 0.6)[0] for seed in seeds]
