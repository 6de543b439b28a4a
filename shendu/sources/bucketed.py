"""Rows of varying length as an endless stream whose batches hold rows of similar length: little of them is padding.

An epoch's rows are drawn in a keyed order, sorted by length within pools of some batches, and the batches drawn in a
keyed order again. All of it is arithmetic on (seed, epoch), so there is nothing to save.

Shape letters: N rows of the split, B rows of a batch, L length.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from shendu import chance
from shendu.core import At, Batch, Processor
from shendu.data.dataset import Split

ORDER, TURN = 3, 4
POOL = 50
"""Batches that are sorted together: more leave less padding, and less chance in which rows meet."""
PADDING = 0


def order(lengths: Tensor, seed: int, epoch: int, batch_size: int, pool: int = POOL) -> Tensor:
    """The rows 0 … N-1 in the order of an epoch, int64 [N]; the same for the same arguments.

    Samples epoch * N, epoch * N + 1, … of the stream, cut into batches at the multiples of `batch_size`, have rows of
    similar `lengths` int64 [N] in each batch; not in the ones that epochs share. `lengths` is any key to sort by.
    """
    rows = len(lengths)
    drawn = chance.permute(torch.arange(rows), rows, seed, ORDER, epoch=epoch)
    first = -(epoch * rows) % batch_size
    count = (rows - first) // batch_size
    if count < 1:
        return drawn
    last = first + count * batch_size
    pools = drawn[first:last].split(pool * batch_size)
    batches = torch.cat([each[lengths[each].sort(stable=True).indices] for each in pools]).view(count, batch_size)
    turns = chance.permute(torch.arange(count), count, seed, TURN, epoch=epoch)
    return torch.cat([drawn[:first], batches[turns].flatten(), drawn[last:]])


def lengths_of(codes: Tensor) -> Tensor:
    """Codes [B, L], 0 after a row's last -> how many each row has, int64 [B]."""
    places = torch.arange(1, codes.shape[1] + 1, device=codes.device)
    return ((codes != PADDING) * places).amax(1) if codes.shape[1] else places.new_zeros(len(codes))


def sort_key(lengths: list[Tensor]) -> Tensor:
    """Lengths int64 [N] of one or several columns -> one key to sort by, int64 [N]: the first, then the second, …"""
    key = lengths[0]
    for more in lengths[1:]:
        key = key * (int(more.max()) + 1) + more
    return key


class Bucketed:
    """Samples start … start+size-1 of epochs through a split, in the order of `order`.

    `columns` names a batch's fields and the columns that they come from. Those in `padded` hold codes [N, L], 0 after a
    row's last, and are cut to the longest of the rows that are asked for, but to one place at least.
    """

    acts = False

    def __init__(
        self,
        split: Split,
        processor: Processor,
        *,
        columns: dict[str, str],
        padded: tuple[str, ...],
        batch_size: int,
        seed: int = 0,
        pool: int = POOL,
        device: torch.device | str = "cpu",
    ) -> None:
        self.rows, self.processor, self.seed = len(split), processor, seed
        self.batch_size, self.pool, self.device = batch_size, pool, torch.device(device)
        self.columns = {name: torch.from_numpy(split.columns[column]) for name, column in columns.items()}
        self.index = torch.arange(self.rows) if split.index is None else torch.from_numpy(split.index)
        self.lengths = {name: _lengths(self.columns[name], self.index) for name in padded}
        self.key = sort_key(list(self.lengths.values()))
        self._epochs: dict[int, Tensor] = {}

    def batch(self, at: At, model: nn.Module | None = None) -> Batch:
        found = self.stored(at.start, at.size)
        return self.processor.prepare({name: t.to(self.device, non_blocking=True) for name, t in found.items()})

    def stored(self, start: int, size: int) -> Batch:
        """Rows as they are stored, cut to the longest of them."""
        numbers = self.row_numbers(start, size)
        found = {name: t.index_select(0, self.index[numbers]) for name, t in self.columns.items()}
        longest = {name: max(1, int(lengths[numbers].max())) for name, lengths in self.lengths.items()}
        return {name: t[:, : longest[name]] if name in longest else t for name, t in found.items()}

    def row_numbers(self, start: int, size: int) -> Tensor:
        """Rows of the split, int64 [size]."""
        epoch, at = divmod(start, self.rows)
        rows = self._epoch(epoch)[at : at + size]
        return rows if len(rows) == size else torch.cat([rows, self.row_numbers(start + len(rows), size - len(rows))])

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass

    def _epoch(self, epoch: int) -> Tensor:
        """An epoch's order; the last two are kept, since a batch may straddle them."""
        if epoch not in self._epochs:
            kept = {number: rows for number, rows in self._epochs.items() if number == epoch - 1}
            self._epochs = {**kept, epoch: order(self.key, self.seed, epoch, self.batch_size, self.pool)}
        return self._epochs[epoch]


PIECE = 4096
"""Rows whose lengths are counted at once."""


def _lengths(codes: Tensor, index: Tensor) -> Tensor:
    return torch.cat([lengths_of(codes.index_select(0, piece)) for piece in index.split(PIECE)])
