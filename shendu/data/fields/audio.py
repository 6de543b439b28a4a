"""Recordings of one rate and length.

Shape letters: N rows, B batch, M mel bands, T frames.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from shendu.data import moments, sound
from shendu.errors import UserError
from shendu.field import Field, Port, Size, Snippet, Values, array_of

if TYPE_CHECKING:
    from torch import Tensor

    from shendu.field import Batch

MEASURED = 5_000
"""Recordings that mean and standard deviation are taken from, spread over all rows."""


@dataclass(frozen=True, kw_only=True)
class Audio(Field):
    """Recordings of one rate and length: int16 [N, length]; a network takes log-mel spectrograms, float [B, 1, M, T]."""

    kind: ClassVar[str] = "audio"
    words: ClassVar[str] = "recordings"
    dtype: ClassVar[str] = "int16"
    explains: ClassVar[str] = "maps"
    filed: ClassVar[bool] = True
    flat: ClassVar[bool] = True
    augments: ClassVar[tuple[str, ...]] = ("delay", "noise", "specmask", "mixup")

    rate: int
    """Hz."""
    length: int
    """Samples."""
    mels: int = 40
    window: float = 0.03
    """Seconds that a frame sees."""
    hop: float = 0.01
    """Seconds from a frame to the next."""
    mean: tuple[float, ...] = field(default=(), compare=False, repr=False)
    """Per mel band, over the frames of the training rows."""
    std: tuple[float, ...] = field(default=(), compare=False, repr=False)

    @property
    def stored(self) -> tuple[int, ...]:
        return (self.length,)

    @property
    def shape(self) -> tuple[int, ...]:
        from shendu.data import spectrogram

        return (1, self.mels, spectrogram.frames(self.length, round(self.hop * self.rate)))

    @property
    def per_second(self) -> float:
        return self.rate

    def usual_augments(self, sided: bool) -> tuple[str, ...]:
        """By a tenth of a second, with noise and hidden parts."""
        return ("delay:0.1", "noise:15", "specmask:8")

    def spectrograms(self, x: Tensor) -> Tensor:
        """Stored recordings (integers or floats) -> log-mel spectrograms [B, M, T]."""
        from shendu.data import spectrogram

        window, hop = round(self.window * self.rate), round(self.hop * self.rate)
        return spectrogram.log_mel(x.float() / 2**15, rate=self.rate, mels=self.mels, window=window, hop=hop)

    def fitted(self, chunks: Iterable[Values]) -> Audio:
        mean, std = moments.merged(self._moments(values[""]) for values in chunks).settled()
        return replace(self, mean=mean, std=std)

    def _moments(self, values: np.ndarray) -> moments.Moments:
        """Per mel band, over the frames of some of the recordings, evenly spread."""
        import torch

        some = values[:: max(1, len(values) // MEASURED)]
        bands = [self.spectrograms(torch.from_numpy(np.ascontiguousarray(part))) for part in moments.chunks(some)]
        return moments.of_numbers(torch.cat(bands).transpose(1, 2).reshape(-1, self.mels).numpy())

    def statistics(self) -> dict[str, tuple[float, ...]]:
        return {"mean": self.mean or (0.0,) * self.mels, "std": self.std or (1.0,) * self.mels}

    def prepare(self, own: Batch, fit: Batch) -> Batch:
        """Spectrograms, standardised per band."""
        return {"": ((self.spectrograms(own[""]) - fit["mean"][:, None]) / fit["std"][:, None])[:, None]}

    def ports(self) -> dict[str, Port]:
        """Samples of recordings of any length, at this rate."""
        return {"": Port("int16", (Size("samples"),), f"samples of 16 bits at {self.rate:,} Hz, one channel")}

    def received(self, given: Batch) -> Batch:
        """Of this length: the loudest part of a longer recording, zeros around a shorter one (`sound.fitted`)."""
        import torch
        import torch.nn.functional as F

        x, count = given[""], torch.full((), given[""].shape[1], dtype=torch.int64)
        before = (self.length - count).clamp(min=0) // 2
        padded = F.pad(x.int(), (self.length, self.length))
        energy = F.pad(padded.double().square().cumsum(1), (1, 0))  # whole numbers below 2^53
        loud = energy[:, self.length :] - energy[:, : -self.length]
        start = torch.arange(loud.shape[1]) - self.length
        inside = (start >= 0) & (start <= count - self.length)
        first = torch.where(inside, loud, -1.0).argmax(1)
        first = torch.where(count > self.length, first, self.length - before)
        return {"": padded.gather(1, first[:, None] + torch.arange(self.length)).to(x.dtype)}

    def snippet(self, role: str, argument: str, stem: str, words: bool) -> Snippet:
        given = f'{{"{role}": soundfile.read({argument}, dtype="int16")[0][None]}}'
        return Snippet(given, ("import soundfile",), example="RECORDING.wav")

    def control(self) -> dict[str, Any]:
        return {"control": "sound", "rate": self.rate, "length": self.length}

    def offered(self, own: Values, size: float) -> tuple[Values, Values]:
        """Shorter recordings are the middle of these, longer ones have them twice."""
        values = np.asarray(own[""])
        length = max(2, round(size * self.length))
        start = max(0, (self.length - length) // 2)
        given = np.concatenate([values, values[:, ::-1]], 1)[:, start : start + length]
        return {"": given}, self.parse([(row, self.rate) for row in given])

    def parse(self, values: Any) -> Values:
        """From recordings (a list), each as (samples, rate) or as samples at this field's rate; from one; or from stored rows."""
        if isinstance(values, list) and any(isinstance(v, tuple) or np.ndim(v) for v in values):
            return {"": np.concatenate([self._rows(value) for value in values])}
        return {"": self._rows(values)}

    def _rows(self, values: Any) -> np.ndarray:
        """int16 [1, length] of one recording, or stored rows."""
        rate = self.rate
        if isinstance(values, tuple) and len(values) == 2 and np.ndim(values[1]) == 0:
            values, rate = values[0], int(values[1])
        array = array_of(values)
        if array.shape[-1:] == self.stored and array.ndim < 3 and array.dtype == np.int16 and rate == self.rate:
            return array.reshape(-1, self.length)
        if array.ndim != 1 or not len(array) or array.dtype.kind not in "iuf" or rate not in sound.RATES:
            raise UserError(
                f"the model takes recordings: a file, a list of [(samples, rate)], samples at {self.rate:,} Hz, or int16 "
                f"[n, {self.length}]; this input is {array.dtype} {list(array.shape)} at {rate:,} Hz"
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise UserError("the recording holds NaN or infinity; replace them first")
        samples = sound.sixteen_bits(sound.resampled(sound.scaled(array), rate, self.rate))
        return sound.fitted(samples, self.length)[None]

    def entry(self) -> dict[str, Any]:
        return {"as": "recording", "rate": self.rate, "seconds": self.length / self.rate}

    def show(self, own: dict[str, np.ndarray]) -> np.ndarray:
        """The spectrogram as a picture [M, T, 3], low frequencies below."""
        import torch
        from matplotlib import colormaps

        bands = self.spectrograms(torch.from_numpy(np.array(own[""]))[None])[0].flip(0).numpy()
        low, high = bands.min(), bands.max()
        return colormaps["magma"]((bands - low) / max(high - low, 1e-6), bytes=True)[..., :3]

    def example(self, n: int) -> Batch:
        import torch

        noise = torch.randint(-3000, 3001, (n, self.length), generator=torch.Generator().manual_seed(n))
        return {"": noise.to(torch.int16)}
