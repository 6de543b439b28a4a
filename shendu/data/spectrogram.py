"""Log-mel spectrograms of whole batches of recordings, on the device that holds them.

Frame t of a recording x is centred on sample t·hop; beyond both ends there are zeros. With a Hann window w of W samples
and a discrete Fourier transform of F points (the frame is padded to F with zeros), the power at frequency k·rate/F is

    P[t, k] = |Σₙ w[n] x[t·hop + n - ⌊W/2⌋] exp(-2πi k n / F)|² / (Σₙ w[n] / 2)²        (1 for a sine of full scale)

which M triangles of height 1 add up to bands, and of which a network sees the logarithm below the loudest band:

    S[m, t] = log(E[m, t] / max(E) + FLOOR),    E[m, t] = Σₖ triangle[m, k] P[t, k]

so that a recording's gain changes nothing. The corners of the triangles are equally spaced from LOWEST to half the rate
on the mel scale of O'Shaughnessy (1987) that the HTK toolkit uses, mel(f) = 2595 log₁₀(1 + f / 700).

Shape letters: B batch, N samples, T frames, F points of the transform, M mel bands.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

LOWEST = 20.0
"""Hz: below it nobody hears."""
FLOOR = 1e-8
"""80 dB below the loudest band of a recording."""
SILENCE = 1e-10
"""What is quieter than this, 100 dB below full scale, is not made louder."""
POINTS_LEAST = 512
AT_ONCE = 1 << 23
"""Samples in the frames of one piece of a batch: 32 MiB."""


def points(window: int) -> int:
    """F for a window of so many samples: a power of two at which even the narrowest band has points of its own."""
    return max(POINTS_LEAST, 2 ** math.ceil(math.log2(2 * window)))


def frames(samples: int, hop: int) -> int:
    """T of a recording of so many samples."""
    return 1 + samples // hop


def mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)


def filters(rate: int, count: int, points: int) -> Tensor:
    """Triangles [M, F/2 + 1] over the frequencies of a transform."""
    low, high = mel(min(LOWEST, rate / 8)), mel(rate / 2)
    corners = 700 * (10 ** (torch.linspace(low, high, count + 2, dtype=torch.float64) / 2595) - 1)
    left, centre, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    hertz = torch.arange(points // 2 + 1, dtype=torch.float64) * rate / points
    rising, falling = (hertz - left) / (centre - left), (right - hertz) / (right - centre)
    return torch.minimum(rising, falling).clamp(min=0).float()


@lru_cache(maxsize=32)
def _tables(rate: int, count: int, window: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Window [W] (scaled by its sum) and filters [F/2 + 1, M]: made once per device."""
    hann = torch.hann_window(window, dtype=torch.float64)
    scaled = (hann * 2 / hann.sum()).float()
    return scaled.to(device), filters(rate, count, points(window)).T.contiguous().to(device)


def log_mel(x: Tensor, *, rate: int, mels: int, window: int, hop: int) -> Tensor:
    """Recordings [B, N] of full scale 1 -> log-mel spectrograms [B, M, T]; `window` and `hop` in samples."""
    hann, triangles = _tables(rate, mels, window, x.device)
    if torch.compiler.is_exporting():  # a graph takes any number of rows at once
        return _log_mel(x, hann, triangles, hop)
    rows = max(1, AT_ONCE // (frames(x.shape[1], hop) * points(window)))
    pieces = [_log_mel(part, hann, triangles, hop) for part in x.split(rows)]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def _log_mel(x: Tensor, hann: Tensor, triangles: Tensor, hop: int) -> Tensor:
    window = len(hann)
    padded = F.pad(x, (window // 2, window))
    framed = padded.unfold(1, window, hop)[:, : frames(x.shape[1], hop)] * hann
    spectrum = torch.fft.rfft(framed, n=points(window))
    bands = (spectrum.real.square() + spectrum.imag.square()) @ triangles
    loudest = bands.amax((1, 2), keepdim=True).clamp(min=SILENCE)
    return (bands / loudest + FLOOR).log().transpose(1, 2)
