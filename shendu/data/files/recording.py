"""A recording's file as samples. WAV by itself; FLAC, OGG, MP3 and the rest by soundfile."""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from shendu.data import sound
from shendu.data.files import foreign
from shendu.errors import UserError

CHANNELS_MOST, CHUNKS_MOST = 32, 1_000
SECONDS_HEARD, SAMPLES_HEARD = 60.0, 1 << 22
"""Of a long recording no more than this of its beginning is decoded."""
NIST_MOST = 1 << 14
_NIST = re.compile(rb"^(sample_count|channel_count|sample_n_bytes) -i (\d{1,15})\s*$", re.MULTILINE)
HEAD = 1 << 26
"""Bytes of a file's beginning that are read: a minute of anything usual."""


class Header(NamedTuple):
    """What a file says of itself."""

    rate: int
    frames: int


def probe(data: bytes) -> Header:
    """The header of a file of which `data` is the beginning; raises ValueError for what cannot be read."""
    if not data:
        raise ValueError("an empty file")
    if plain := Wave.of(data):
        return Header(plain.rate, plain.frames)
    with _opened(data) as file:
        _check(file.samplerate, file.channels, file.frames)
        if (promised := _promised(data)) > len(data) + SLACK and len(data) < HEAD:
            raise ValueError(f"cut off: {promised:,} bytes are promised and {len(data):,} are there")
        return Header(file.samplerate, file.frames)


def decoded(data: bytes, rate: int) -> np.ndarray:
    """The beginning of a file, mixed to one channel, at another rate: int16. Raises ValueError."""
    header = probe(data)
    wanted = min(header.frames, int(SECONDS_HEARD * header.rate), SAMPLES_HEARD)
    if plain := Wave.of(data):
        samples = plain.samples(data, wanted)
    else:
        samples = _read_by_soundfile(data, wanted)
        if len(samples) < wanted and len(data) < HEAD:
            raise ValueError(f"cut off: {wanted:,} samples are promised and {len(samples):,} are there")
    if not np.isfinite(samples).all():
        raise ValueError("NaN or infinity among its samples")
    return sound.sixteen_bits(sound.resampled(samples.mean(1, dtype=np.float32), header.rate, rate))


def _promised(data: bytes) -> int:
    """How long a file says that it is, in bytes, where its format says so and libsndfile reads what is left of it; 0: it does not."""
    if data[:4] == b"FORM":
        return 8 + int.from_bytes(data[4:8], "big")
    if data[:4] == b"riff":
        return int.from_bytes(data[16:24], "little")
    if data[:4] == b"RF64":
        return 8 + int.from_bytes(data[20:28], "little")
    if data[:4] == b".snd":
        size = int.from_bytes(data[8:12], "big")
        return int.from_bytes(data[4:8], "big") + size if size < STREAMED else 0
    if data[:7] == b"NIST_1A":
        return _promised_by_nist(data)
    if data[:19] == b"Creative Voice File":
        return _promised_by_voc(data)
    size = int.from_bytes(data[4:8], "little")
    return 8 + size if data[:4] == b"RIFF" and size < STREAMED else 0


def _promised_by_nist(data: bytes) -> int:
    """Of a SPHERE file: its header is lines of text, of a size that the second one says."""
    said = {key: int(value) for key, value in _NIST.findall(data[:NIST_MOST])}
    size, samples = int(data[8:15].strip() or 0) if data[8:15].strip().isdigit() else 0, said.get(b"sample_count", 0)
    return size + samples * said.get(b"channel_count", 1) * said.get(b"sample_n_bytes", 1) if size and samples else 0


def _promised_by_voc(data: bytes) -> int:
    """Of a Creative Voice file: blocks of a kind and a size of three bytes, until one of the kind 0."""
    at = int.from_bytes(data[20:22], "little")
    for _ in range(CHUNKS_MOST):
        if at + 4 > len(data) or not data[at]:
            break
        at += 4 + int.from_bytes(data[at + 1 : at + 4], "little")
    return at


def _check(rate: int, channels: int, frames: int) -> None:
    """Raises ValueError for a header that no recording has."""
    if rate not in sound.RATES:
        raise ValueError(f"a rate of {rate:,} Hz")
    if not 0 < channels <= CHANNELS_MOST:
        raise ValueError(f"{channels} channels")
    if frames < 1:
        raise ValueError("no samples")


def _opened(data: bytes) -> Any:
    """The file in soundfile's hands; raises ValueError where it is no recording, or soundfile is missing."""
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: the package is there, its C library is not
        raise ValueError("only WAV is read without the soundfile library: pip install soundfile") from None
    try:
        return soundfile.SoundFile(io.BytesIO(data))
    except soundfile.LibsndfileError:
        raise ValueError(f"not a recording{foreign.inside(data)}") from None


def _read_by_soundfile(data: bytes, wanted: int) -> np.ndarray:
    """The first samples of a file as float32 [n, channels]; raises ValueError."""
    with _opened(data) as file:
        try:
            return file.read(wanted, dtype="float32", always_2d=True)
        except RuntimeError as error:
            raise ValueError(f"damaged or cut off ({str(error).removeprefix('Error : ').rstrip('.')})") from None


@dataclass(frozen=True)
class Wave:
    """A WAV file of plain samples: where they are and how they are written."""

    rate: int
    channels: int
    kind: str
    """NumPy's word for a sample; i3: 24 bits."""
    start: int
    frames: int

    @classmethod
    def of(cls, data: bytes) -> Wave | None:
        """From a file's beginning; None where it is no WAV of plain samples. Raises ValueError for a broken one."""
        if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
            return None
        form, at = b"", 12
        for _ in range(CHUNKS_MOST):
            if at + 8 > len(data):
                break
            if data[at : at + 4] not in _NAMES:
                at = _near(data, at)
            name, size = struct.unpack_from("<4sI", data, at)
            at += 8
            if name == b"fmt ":
                form = data[at : at + min(size, 40)]
            elif name == b"data":
                _check_alone(data, at + size + size % 2)
                return cls._of_form(form, data, at, size)
            at += size + size % 2
        raise ValueError("a WAV file without samples")

    @classmethod
    def _of_form(cls, form: bytes, data: bytes, start: int, size: int) -> Wave | None:
        if len(form) < 16:
            raise ValueError("a WAV file without its format")
        tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", form)
        if tag == EXTENSIBLE and len(form) >= 26:
            tag = struct.unpack_from("<H", form, 24)[0]
        if (tag, bits) not in _PLAIN:
            return None
        _check(rate, channels, 1)
        there, step = len(data) - start, channels * bits // 8
        if size >= STREAMED or there < size <= there + SLACK or (not size and not _is_name(data[start : start + 4])):
            size = there
        if size > there and len(data) < HEAD:
            raise ValueError(f"cut off: {size // step:,} samples are promised and {there // step:,} are there")
        _check(rate, channels, size // step)
        return cls(rate, channels, _PLAIN[tag, bits], start, size // step)

    def samples(self, data: bytes, wanted: int) -> np.ndarray:
        """The first samples of a file as float [n, channels] of full scale 1."""
        width = 3 if self.kind == "i3" else np.dtype(self.kind).itemsize
        most = (len(data) - self.start) // (width * self.channels)
        raw = np.frombuffer(data, np.uint8, min(wanted, most) * width * self.channels, self.start)
        if self.kind == "i3":
            wide = np.zeros((len(raw) // 3, 4), np.uint8)
            wide[:, 1:] = raw.reshape(-1, 3)
            raw, kind = wide.reshape(-1), "<i4"
        else:
            kind = self.kind
        return sound.scaled(raw.view(kind)).reshape(-1, self.channels)


def _check_alone(data: bytes, at: int) -> None:
    """Raises ValueError for a second part of samples behind the first: libsndfile refuses such a file, and half of it is no recording."""
    for _ in range(CHUNKS_MOST):
        if at + 8 > len(data) or not _is_name(data[at : at + 4]):
            return
        if data[at : at + 4] == b"data":
            raise ValueError("samples in two parts ('data' twice): save it anew as one")
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + size + size % 2


PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
_PLAIN = {(PCM, 8): "u1", (PCM, 16): "<i2", (PCM, 24): "i3", (PCM, 32): "<i4", (FLOAT, 32): "<f4", (FLOAT, 64): "<f8"}
STREAMED = 0x7FFF0000
"""Sizes from here on are written by programs that did not know when the recording would end."""
SLACK, OFF = 64, 16
"""Bytes that a size may be too large by (some count their header too), and by which a part's place may be off."""


_NAMES = {b"fmt ", b"data", b"fact", b"LIST", b"bext", b"JUNK", b"junk", b"PEAK", b"cue ", b"smpl", b"id3 ", b"iXML"}


def _is_name(name: bytes) -> bool:
    """Whether these bytes may name a part of a WAV file, or nothing is there."""
    return all(32 <= sign < 127 for sign in name)


def _near(data: bytes, at: int) -> int:
    """Where the samples or their format begin, a few bytes beside the place that the sizes before it say; else that place."""
    for name in (b"data", b"fmt "):
        found = data.find(name, max(0, at - OFF), at + OFF)
        size = int.from_bytes(data[found + 4 : found + 8], "little")
        if found >= 0 and (found + 8 + size <= len(data) + SLACK or len(data) == HEAD):
            return found
    return at


def read_recording(path: Path, rate: int) -> np.ndarray:
    """A file as int16 samples at a rate; raises UserError where it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(HEAD)
        return decoded(data, rate)
    except Exception as error:  # decoders raise anything on damaged bytes
        why = reason(error)
        advice = "" if ":" in why else "; give a WAV, FLAC, OGG or MP3 file"
        raise UserError(f"cannot read {path}: {why}{advice}") from error


def reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())[:200] or type(error).__name__
