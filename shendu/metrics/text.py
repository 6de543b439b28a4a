"""Figures of text: how well it is foretold, and how well it is translated.

Shape letters: B rows of a batch, R rows that were counted, T tokens of a row, V vocabulary, L codes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from shendu.core import MASKED, Batch, Metric, Outputs
from shendu.errors import UserError
from shendu.parallel import double


class Nats(Metric):
    """What a text's tokens cost, from the mean in each row (`nats` [B]) and its targets `y` [B, T]; masked ones do not count.

    loss: mean nats per token. perplexity: its exp, as many equally likely tokens would be as hard to tell.
    bits-per-character: of the text, whatever its tokens are, a fair figure between tokenizers.

    `characters` int64 [V]: how many characters each token begins. Rows are nats, tokens and characters.
    """

    higher: Mapping[str, bool] = {"loss": False, "perplexity": False, "bits-per-character": False}

    def __init__(self, characters: Tensor) -> None:
        self.characters = characters

    def rows(self, outputs: Outputs, batch: Batch) -> Tensor:
        nats = double(outputs["nats"])
        target = batch["y"].to(nats.device)
        there = target != MASKED
        count = double(there.sum(1))
        begun = self.characters.to(nats.device)[target.masked_fill(~there, 0)].masked_fill(~there, 0)
        return torch.stack([nats * count, count, double(begun.sum(1))], 1)

    def figures(self, rows: Tensor) -> dict[str, float]:
        nats, count, characters = rows.sum(0).tolist()
        loss = nats / count if count else math.nan
        bits = nats / characters / math.log(2) if characters else math.nan
        return {"loss": loss, "perplexity": math.exp(min(loss, 700.0)), "bits-per-character": bits}


class BLEU(Metric):
    """Corpus BLEU (Papineni et al. 2002), 0 to 100, of lower-cased texts with one reference each, as sacrebleu has it.

    `texts` turns codes [B, L] into B texts: the translations `codes`, and the references `y`. Rows are counts [R, 10]: the
    lengths of the translation and its reference, n-grams matched and n-grams in all, n = 1 … 4. Raises UserError where
    sacrebleu is not installed.
    """

    higher: Mapping[str, bool] = {"bleu": True}

    def __init__(self, texts: Callable[[Tensor], list[str]]) -> None:
        self.texts, self.score = texts, _sacrebleu()
        self.sentence = self.score(lowercase=True, effective_order=True)
        self.signature = f"nrefs:1|case:lc|eff:no|tok:13a|smooth:exp|version:{_version()}"
        """In sacrebleu's own words (Post 2018): what a figure must share to be compared with this one."""

    def rows(self, outputs: Outputs, batch: Batch) -> Tensor:
        scores = [
            self.sentence.sentence_score(translation, [reference])
            for translation, reference in zip(self.texts(outputs["codes"]), self.texts(batch["y"]), strict=True)
        ]
        rows = [[score.sys_len, score.ref_len, *score.counts, *score.totals] for score in scores]
        return torch.tensor(rows, dtype=torch.float64).reshape(-1, 10)

    def figures(self, rows: Tensor) -> dict[str, float]:
        ours, theirs, *ngrams = map(int, rows.sum(0).tolist())
        if not theirs:
            return {"bleu": math.nan}
        return {"bleu": float(self.score.compute_bleu(ngrams[:4], ngrams[4:], ours, theirs, smooth_method="exp").score)}


def _sacrebleu() -> Any:
    try:
        from sacrebleu.metrics import BLEU as score
    except ImportError:
        raise UserError('BLEU is measured by the package sacrebleu: pip install "shendu[text]"') from None
    return score


def _version() -> str:
    from sacrebleu import __version__

    return __version__
