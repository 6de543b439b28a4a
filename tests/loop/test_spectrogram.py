"""Log-mel spectrograms against the formula, summed out one frame and one frequency at a time."""

from __future__ import annotations

import cmath
import math

import numpy as np
import pytest
import torch

from shendu.data import spectrogram


def plain(x: np.ndarray, rate: int, mels: int, window: int, hop: int) -> np.ndarray:
    """The definition: sums over samples and frequencies, no transform, no batch."""
    size = spectrogram.points(window)
    hann = [0.5 - 0.5 * math.cos(2 * math.pi * n / window) for n in range(window)]
    top, bottom = 2595 * math.log10(1 + rate / 2 / 700), 2595 * math.log10(1 + 20 / 700)
    corners = [700 * (10 ** ((bottom + (top - bottom) * m / (mels + 1)) / 2595) - 1) for m in range(mels + 2)]
    bands = np.zeros((mels, 1 + len(x) // hop))
    for t in range(bands.shape[1]):
        for k in range(size // 2 + 1):
            total = 0j
            for n in range(window):
                place = t * hop + n - window // 2
                if 0 <= place < len(x):
                    total += hann[n] * x[place] * cmath.exp(-2j * math.pi * k * n / size)
            power, hertz = abs(total) ** 2 / (sum(hann) / 2) ** 2, k * rate / size
            for m in range(mels):
                low, peak, high = corners[m : m + 3]
                bands[m, t] += power * max(0.0, min((hertz - low) / (peak - low), (high - hertz) / (high - peak)))
    return np.log(bands / max(bands.max(), 1e-10) + 1e-8)


@pytest.mark.parametrize(("samples", "window", "hop"), [(150, 48, 40), (31, 33, 16), (5, 32, 16)])
def test_is_its_formula(samples: int, window: int, hop: int) -> None:
    x = np.random.default_rng(samples).uniform(-1, 1, samples)
    got = spectrogram.log_mel(torch.from_numpy(x[None]).float(), rate=1600, mels=6, window=window, hop=hop)
    np.testing.assert_allclose(got[0].numpy(), plain(x, 1600, 6, window, hop), atol=2e-4)


def test_a_sine_of_full_scale_has_power_one_in_its_band() -> None:
    rate, window = 8000, 240
    triangles = spectrogram.filters(rate, 40, spectrogram.points(window))
    for hertz in (250.0, 1000.0, 3000.0):
        x = torch.sin(2 * math.pi * hertz * torch.arange(4000) / rate)[None]
        bands = spectrogram.log_mel(x, rate=rate, mels=40, window=window, hop=80)[0, :, 25]
        at = round(hertz * spectrogram.points(window) / rate)
        assert int(bands.argmax()) == int(triangles[:, at].argmax())
        assert float(bands.max()) == pytest.approx(0.0, abs=1e-3)


def test_gain_changes_nothing_and_silence_is_flat() -> None:
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((3, 4000)).astype(np.float32)) / 10
    settings = {"rate": 8000, "mels": 40, "window": 240, "hop": 80}
    loud, quiet = spectrogram.log_mel(x, **settings), spectrogram.log_mel(x / 50, **settings)
    torch.testing.assert_close(loud, quiet, atol=1e-3, rtol=0)
    assert torch.equal(spectrogram.log_mel(x * 0, **settings), torch.full_like(loud, spectrogram.FLOOR).log())


def test_a_batch_in_pieces_is_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.from_numpy(np.random.default_rng(1).standard_normal((7, 3000)).astype(np.float32))
    settings = {"rate": 8000, "mels": 20, "window": 200, "hop": 100}
    whole = spectrogram.log_mel(x, **settings)
    monkeypatch.setattr(spectrogram, "AT_ONCE", 40_000)
    torch.testing.assert_close(spectrogram.log_mel(x, **settings), whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("rate", [1000, 8000, 11025, 16000])
def test_every_band_hears_something(rate: int) -> None:
    triangles = spectrogram.filters(rate, 40, spectrogram.points(round(0.03 * rate)))
    assert float(triangles.amax(1).min()) > 0.3
    peaks = triangles.argmax(1)
    assert bool((peaks.diff() > 0).all())
    covered = triangles.sum(0)[int(peaks[0]) + 1 : int(peaks[-1])]
    torch.testing.assert_close(covered, torch.ones_like(covered), atol=1e-4, rtol=0)
