"""Recordings: every form of WAV, other formats, rates, lengths, and what cannot be read, each with its line."""

from __future__ import annotations

import builtins
import io
import struct
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import shendu.data
from shendu.data import Dataset, sound
from shendu.data.fields.audio import Audio
from shendu.data.files import recording
from shendu.errors import UserError
from shendu.field import Field
from shendu.recipes import labelled

pytestmark = pytest.mark.usefixtures("fresh_cache")

KINDS = {(1, 8): "u1", (1, 16): "<i2", (1, 32): "<i4", (3, 32): "<f4", (3, 64): "<f8"}


def tone(seconds: float = 0.5, hertz: float = 440.0, rate: int = 8000, loud: float = 0.5) -> np.ndarray:
    return (loud * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float64)


def wav(x: np.ndarray, rate: int = 8000, tag: int = 1, bits: int = 16, **odd: Any) -> bytes:
    """The bytes of a WAV file of samples [n] or [n, channels] of full scale 1; `odd` are untrue header fields."""
    full = 2 ** (bits - 1)
    if tag == 3:
        raw = x.astype(KINDS[3, bits]).tobytes()
    elif bits == 24:
        raw = np.rint(x * (full - 1)).astype("<i4").reshape(-1, 1).view(np.uint8)[:, :3].tobytes()
    else:
        raw = (np.rint(x * (full - 1)) + (128 if bits == 8 else 0)).astype(KINDS[1, bits]).tobytes()
    channels = odd.get("channels", 1 if x.ndim == 1 else x.shape[1])
    form = struct.pack(
        "<HHIIHH", tag, channels, rate, rate * channels * bits // 8 & 0xFFFFFFFF, channels * bits // 8, bits
    )
    if odd.get("extensible"):
        form = struct.pack("<H", 0xFFFE) + form[2:] + struct.pack("<HHIH", 22, bits, 0, tag) + bytes(14)
    chunks = b"LIST" + struct.pack("<I", 3) + b"abc\0" if odd.get("more") else b""
    chunks += b"" if odd.get("no_form") else b"fmt " + struct.pack("<I", len(form)) + form
    chunks += b"" if odd.get("no_data") else b"data" + struct.pack("<I", odd.get("size", len(raw))) + raw
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def packed(x: np.ndarray, form: str, rate: int = 8000) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, x, rate, format=form)
    return out.getvalue()


def few(**more: bytes) -> dict[str, bytes]:
    """Two recordings of each of two classes, and others by name: `b__3_wav=…` is b/3.wav."""
    files = {f"{c}/{i}.wav": wav(tone(hertz=hertz + 50 * i)) for c, hertz in (("a", 300), ("b", 2000)) for i in (1, 2)}
    return files | {name.replace("__", "/").replace("_", "."): data for name, data in more.items()}


def refused(path: Path, **how: Any) -> str:
    with pytest.raises(UserError) as caught:
        shendu.data.open(path, **how)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- what is read


@pytest.mark.parametrize(("tag", "bits", "exact"), [(1, 8, 2**-7), (1, 16, 2**-14), (1, 24, 2**-14), (1, 32, 2**-14), (3, 32, 2**-14), (3, 64, 2**-14)])  # fmt: skip
@pytest.mark.parametrize("odd", [{}, {"more": True}, {"extensible": True}, {"size": 0xFFFFFFFF}])
def test_every_form_of_wav(tag: int, bits: int, exact: float, odd: dict[str, Any]) -> None:
    x = tone(0.1)
    data = wav(x, tag=tag, bits=bits, **odd)
    assert recording.probe(data) == (8000, 800)
    np.testing.assert_allclose(recording.decoded(data, 8000) / 2**15, x, atol=exact)
    if odd.keys() <= {"more"}:
        theirs, rate = soundfile.read(io.BytesIO(data))
        np.testing.assert_allclose(recording.decoded(data, rate) / 2**15, theirs, atol=exact)


@pytest.mark.parametrize(
    ("form", "exact"), [("FLAC", 2**-14), ("AIFF", 2**-14), ("RF64", 2**-14), ("OGG", 0.2), ("MP3", 0.2)]
)
def test_other_formats(form: str, exact: float) -> None:
    """A sound that resembles itself nowhere else, since MP3 puts silence before it."""
    x = sound.resampled(np.random.default_rng(0).uniform(-0.5, 0.5, 1000), 2000, 8000)
    data = packed(x, form)
    found = recording.decoded(data, 8000) / 2**15
    assert recording.probe(data).rate == 8000
    middle = slice(1000, 3000)
    lag = max(range(-1200, 1200), key=lambda by: float(np.roll(found, by)[middle] @ x[middle]))
    assert lag == 0 or form == "MP3"
    np.testing.assert_allclose(np.roll(found, lag)[middle], x[middle], atol=exact)


def riff(*parts: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 4 + sum(map(len, parts))) + b"WAVE" + b"".join(parts)


def part(name: bytes, data: bytes, size: int | None = None) -> bytes:
    return name + struct.pack("<I", len(data) if size is None else size) + data


PLAIN = wav(tone())
FORM, RAW = PLAIN[20:36], PLAIN[44:]
FMT = part(b"fmt ", FORM)
ODD = {
    **{f"{off} bytes too many": riff(FMT, part(b"data", RAW, len(RAW) + off)) for off in (1, 2, 8, 36, 44)},
    "no size": riff(FMT, part(b"data", RAW, 0)),
    "no sizes": b"RIFF\0\0\0\0WAVE" + FMT + part(b"data", RAW, 0),
    "a size of all ones": riff(FMT, part(b"data", RAW, 0xFFFFFFFF)),
    "an odd part without padding": riff(FMT, part(b"LIST", b"INFOx"), part(b"data", RAW)),
    "a part that is shorter than said": riff(FMT, part(b"LIST", b"INFOISFT\4\0\0\0abcd", 18), part(b"data", RAW)),
    "a part that is longer than said": riff(FMT, part(b"LIST", b"INFOISFT\4\0\0\0abcd", 14), part(b"data", RAW)),
    "a format that is shorter than said": riff(part(b"fmt ", FORM, 18), part(b"data", RAW)),
    "bytes in between": riff(FMT, b"\0\0\0", part(b"data", RAW)),
    "a wrong size of the whole": b"RIFF\x0c\0\0\0" + PLAIN[8:],
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
def test_headers_a_few_bytes_off(odd: str) -> None:
    assert np.array_equal(recording.decoded(ODD[odd], 8000), recording.decoded(PLAIN, 8000))


@pytest.mark.parametrize(
    ("form", "subtype", "end"),
    [("CAF", None, "caf"), ("CAF", "ALAC_16", "caf"), ("AU", None, "au"), ("AU", None, "snd"), ("W64", None, "w64"), ("RF64", None, "rf64"),
     ("OGG", "OPUS", "opus"), ("OGG", None, "oga"), ("AIFF", None, "aifc"), ("VOC", None, "voc"), ("NIST", None, "sph"), ("MP3", None, "mp2"),
     ("WAV", "ULAW", "wave"), ("WAV", "IMA_ADPCM", "bwf"), ("MP3", None, "wav"), ("OGG", None, "wav"), ("FLAC", None, "wav"), ("NIST", None, "wav")],
)  # fmt: skip
def test_what_libsndfile_reads_is_a_recording(
    form: str, subtype: str | None, end: str, tmp_path: Path, make: SimpleNamespace
) -> None:
    out = io.BytesIO()
    soundfile.write(out, tone(), 8000, format=form, subtype=subtype)
    data = shendu.data.open(make.write(tmp_path / "x", few(**{f"b__3_{end}": out.getvalue()})))
    assert len(data.splits["train"]) == 5
    mine = data.splits["train"].column("recording")[-1].astype(float)
    assert np.corrcoef(mine[:3000], tone()[:3000])[0, 1] > 0.9


def test_mp3_in_a_wav(tmp_path: Path) -> None:
    form = struct.pack("<HHIIHHHHIHHH", 0x55, 1, 8000, 1000, 1, 0, 12, 1, 2, 576, 1, 0)
    data = riff(part(b"fmt ", form), part(b"fact", struct.pack("<I", 4000)), part(b"data", packed(tone(), "MP3")))
    found = recording.decoded(data, 8000).astype(float)
    assert np.corrcoef(found[:3000], tone()[:3000])[0, 1] > 0.99


@pytest.mark.parametrize("form", ["AIFF", "AU", "W64", "RF64", "NIST", "VOC"])
def test_a_recording_that_ends_early_is_no_shorter_one(form: str) -> None:
    whole = packed(tone(), form)
    with pytest.raises(ValueError, match=r"cut off: [\d,]+ bytes are promised and [\d,]+ are there"):
        recording.decoded(whole[: len(whole) // 2], 8000)


def test_other_sound_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(90))
    with pytest.raises(UserError) as caught:
        recording.read_recording(tmp_path / "x.m4a", 8000)
    assert str(caught.value) == (
        f"cannot read {tmp_path / 'x.m4a'}: not a recording, but .m4a inside: convert with ffmpeg -i IN.m4a OUT.wav"
    )


def test_channels_are_mixed_and_loud_floats_are_not_clipped() -> None:
    left, right = tone(0.1, 300), tone(0.1, 900)
    both = recording.decoded(wav(np.stack([left, right], 1)), 8000) / 2**15
    np.testing.assert_allclose(both, (left + right) / 2, atol=2**-14)
    loud = recording.decoded(wav(6 * left, tag=3, bits=32), 8000) / 2**15
    np.testing.assert_allclose(loud, 6 * left / np.abs(6 * left).max(), atol=2**-14)


@pytest.mark.parametrize(("rate", "to"), [(44100, 16000), (8000, 16000), (48000, 8000), (22050, 16000), (44099, 16000), (11025, 8000)])  # fmt: skip
def test_resampled_sines_are_sines(rate: int, to: int) -> None:
    found = sound.resampled(tone(0.4, 1000.0, rate).astype(np.float32), rate, to)
    assert len(found) == -(-round(0.4 * rate) * to // rate)
    middle = slice(len(found) // 5, -len(found) // 5)
    np.testing.assert_allclose(found[middle], tone(0.5, 1000.0, to)[: len(found)][middle], atol=1e-3)


def test_resampling_does_not_alias() -> None:
    """What lies above half the new rate is gone, 60 dB and more, instead of coming back as another pitch."""
    for hertz in (4100.0, 5000.0, 7900.0):
        found = sound.resampled(tone(0.5, hertz, 16000).astype(np.float32), 16000, 8000)
        assert float(np.abs(found[500:-500]).max()) < 0.5 * 10 ** (-60 / 20)
    kept = sound.resampled(tone(0.5, 3600.0, 16000).astype(np.float32), 16000, 8000)
    assert float(np.abs(kept[500:-500]).max()) == pytest.approx(0.5, abs=0.01)


def test_fitted_keeps_the_loudest_and_centres_the_short() -> None:
    x = np.zeros(100, np.int16)
    x[60:70] = 9
    assert sound.fitted(x, 10).tolist() == [9] * 10
    assert sound.fitted(x[60:70], 16).tolist() == [0] * 3 + [9] * 10 + [0] * 3
    loud = np.full(70_000, -32768, np.int16)
    assert len(sound.fitted(loud, 65_000)) == 65_000


def test_a_folder_of_class_folders(tmp_path: Path, make: SimpleNamespace) -> None:
    data = shendu.data.open(make.write(tmp_path / "x", few()))
    assert data.classes == ("a", "b")
    assert data.fields["recording"] == Audio(rate=8000, length=4000)
    np.testing.assert_array_equal(data.splits["train"].columns["label"], [0, 0, 1, 1])
    np.testing.assert_allclose(data.splits["train"].columns["recording"][0] / 2**15, tone(hertz=350), atol=2**-14)
    zipped = shendu.data.open(make.write_zip(tmp_path / "x.zip", few()))
    tarred = shendu.data.open(make.write_tar(tmp_path / "x.tar.gz", few()))
    for other in (zipped, tarred):
        for name, values in data.splits["train"].columns.items():
            np.testing.assert_array_equal(other.splits["train"].columns[name], values)
    assert Field.from_json(data.fields["recording"].to_json()) == data.fields["recording"]


def test_labels_in_names_and_a_test_part(tmp_path: Path, make: SimpleNamespace) -> None:
    files = {f"{c}_{who}_{i}.wav": wav(tone(hertz=300 + i)) for c in "07" for who in ("ann", "bo") for i in range(3)}
    data = shendu.data.open(make.write(tmp_path / "x", files), label_from="{label}_*.wav", test_from=r"_0\.wav$")
    assert data.classes == ("0", "7")
    assert {split: len(rows) for split, rows in data.splits.items()} == {"train": 8, "test": 4}


def test_rates_and_lengths_that_differ(tmp_path: Path, make: SimpleNamespace) -> None:
    files = few(a__3_flac=packed(tone(rate=44100), "FLAC", 44100), b__3_wav=wav(tone(rate=11025), 11025))
    data = shendu.data.open(make.write(tmp_path / "x", files))
    assert data.fields["recording"] == Audio(rate=8000, length=4000)
    assert data.notes == ("2 recordings of 6 resampled to 8,000 Hz: the most common rate",)
    found = data.splits["train"].columns["recording"][2] / 2**15
    np.testing.assert_allclose(found[200:-200], tone()[200:-200], atol=1e-3)

    high = {name: wav(tone(rate=48000), 48000) for name in few()}
    data = shendu.data.open(make.write(tmp_path / "high", high))
    assert data.fields["recording"] == Audio(rate=16000, length=8000)
    assert data.notes == ("4 recordings of 4 resampled to 16,000 Hz: at most 16 kHz is kept",)

    long = few(b__3_wav=wav(np.concatenate([np.zeros(40_000), tone(2), np.zeros(90_000)])))
    files = {f"{name[0]}/{i}{name[2:]}": content for i in range(40) for name, content in few().items()} | long
    data = shendu.data.open(make.write(tmp_path / "long", files))
    assert data.fields["recording"].stored == (4000,)
    assert data.notes == ("1 recording (up to 18.2 s) cut to the loudest 0.5 s: as long as 98% of them are",)
    cut = data.splits["train"].columns["recording"][-1]
    assert float(np.square(cut / 2**15).mean()) == pytest.approx(0.125, abs=0.01)


def test_three_hours_among_half_seconds(tmp_path: Path, make: SimpleNamespace) -> None:
    """A sparse file of 170 MB: only its beginning is decoded."""
    root = make.write(tmp_path / "x", few())
    beginning, samples = wav(tone(1.0), size=3 * 3600 * 8000 * 2), 3 * 3600 * 8000
    with (root / "b" / "3.wav").open("wb") as file:
        file.write(beginning)
        file.truncate(44 + 2 * samples)
    began = time.perf_counter()
    data = shendu.data.open(root)
    assert time.perf_counter() - began < 5
    assert data.fields["recording"].stored[0] <= 80_000
    assert data.notes == ("1 recording (up to 3 h) cut to the loudest 10 s of the first 60 s: at most 10 s",)
    assert data.splits["train"].columns["recording"][4].any()


def test_silence_may_be_a_class(tmp_path: Path, make: SimpleNamespace) -> None:
    silence = wav(np.zeros(4000))
    data = shendu.data.open(make.write(tmp_path / "x", few(c__1_wav=silence, c__2_wav=silence)))
    assert data.notes == ("2 recordings of pure silence kept, such as c/1.wav",)
    x = labelled(data).prepare({"x": torch.from_numpy(data.splits["train"].columns["recording"])})["x"]
    assert torch.isfinite(x).all()


# ---- the column


def test_prepared_spectrograms_have_mean_zero_and_spread_one(tmp_path: Path) -> None:
    data = shendu.data.open("chirps")
    column = data.fields["recording"]
    rows = torch.from_numpy(data.splits["train"].columns["recording"])
    x = labelled(data).prepare({"x": rows})["x"]
    assert x.shape[1:] == column.shape
    torch.testing.assert_close(x.mean((0, 1, 3)), torch.zeros(40), atol=1e-3, rtol=0)
    torch.testing.assert_close(x.std((0, 1, 3)), torch.ones(40), atol=1e-3, rtol=0)
    assert column.example(3)[""].shape == (3, *column.stored)


def test_what_is_predicted_is_read_as_what_was_learned(tmp_path: Path, make: SimpleNamespace, one_line: Any) -> None:
    data = shendu.data.open(make.write(tmp_path / "x", few()))
    column = data.fields["recording"]
    stored = data.splits["train"].columns["recording"]
    root = tmp_path / "x"
    (piece,) = shendu.data.pieces([root], {"x": column})
    assert (piece.key, piece.names) == ("input", [str(root / n) for n in ("a/1.wav", "a/2.wav", "b/1.wav", "b/2.wav")])
    np.testing.assert_array_equal(piece.stored["x"], stored)
    np.testing.assert_array_equal(column.parse(stored)[""], stored)
    np.testing.assert_array_equal(column.parse(stored[1])[""][0], stored[1])
    np.testing.assert_allclose(column.parse((tone(rate=44100), 44100))[""][0] / 2**15, tone(), atol=0.02)
    np.testing.assert_array_equal(
        column.parse((tone(0.1), 8000))[""][0, 1600:2400], column.parse(tone(0.1))[""][0, 1600:2400]
    )
    wrong = (
        (root / "no.wav", f"no such file: {root / 'no.wav'}"),
        (np.zeros((2, 7)), "the model takes recordings: a file, a list of [(samples, rate)], samples at 8,000 Hz, or "
         "int16 [n, 4000]; this input is float64 [2, 7] at 8,000 Hz"),
        (8000, "the model takes recordings: a file, a list of [(samples, rate)], samples at 8,000 Hz, or "
         "int16 [n, 4000]; this input is int64 [] at 8,000 Hz"),
        ((tone(0.1), 0), "the model takes recordings: a file, a list of [(samples, rate)], samples at 8,000 Hz, or "
         "int16 [n, 4000]; this input is float64 [800] at 0 Hz"),
        (np.array([0.0, np.nan]), "the recording holds NaN or infinity; replace them first"),
    )  # fmt: skip
    for given_, line in wrong:
        with pytest.raises(UserError) as caught:
            list(shendu.data.pieces([given_], {"x": column}))
        assert one_line(caught.value) == line


def test_a_spectrogram_for_the_eye() -> None:
    """A low tone, then a high one: bright below on the left and above on the right."""
    row = (np.concatenate([tone(0.5, 300), tone(0.5, 3000)]) * 2**15).astype(np.int16)
    column = Audio(rate=8000, length=8000)
    picture = column.show({"": row})
    assert picture.dtype == np.uint8
    assert picture.shape == (40, 101, 3)
    brightest = picture.sum(2, dtype=int).argmax(0)
    assert brightest[20] > 25
    assert brightest[80] < 10
    assert column.show({"": row * 0}).shape == (40, 101, 3)


# ---- what is not


BROKEN = {
    "an empty file": b"",
    "not a recording": b"Dear reader, this is no WAV file at all. " * 20,
    "cut off: 4,000 samples are promised and 1,978 are there": wav(tone())[:4000],
    "0 channels": wav(tone(), channels=0),
    "1000 channels": wav(tone(), channels=1000),
    "a rate of 0 Hz": wav(tone(), 0),
    "a rate of 4,000,000,000 Hz": wav(tone(), 4_000_000_000),
    "no samples": wav(np.zeros(0)),
    "a WAV file without samples": wav(tone(), no_data=True),
    "a WAV file without its format": wav(tone(), no_form=True),
    "NaN or infinity among its samples": wav(np.where(np.arange(4000) == 7, np.nan, tone()), tag=3, bits=32),
}


@pytest.mark.parametrize("why", BROKEN)
def test_unreadable(why: str, tmp_path: Path, make: SimpleNamespace) -> None:
    root = make.write(tmp_path / "x", few(b__3_wav=BROKEN[why]))
    assert refused(root) == (
        f"{root} has 1 unreadable recording, the first is b/3.wav ({why}): mend or remove them, or add --skip-bad"
    )
    data = shendu.data.open(root, skip_bad=True)
    assert len(data.splits["train"]) == 4
    assert data.notes == ("1 unreadable recording skipped: b/3.wav",)


def test_cut_off_flac(tmp_path: Path, make: SimpleNamespace) -> None:
    whole = packed(np.random.default_rng(0).uniform(-1, 1, 20_000), "FLAC")
    root = make.write(tmp_path / "x", few(b__3_flac=whole[: len(whole) // 2]))
    assert refused(root).startswith(f"{root} has 1 unreadable recording, the first is b/3.flac (damaged or cut off (")
    root = make.write(tmp_path / "y", few(b__3_flac=whole[:20]))
    assert "b/3.flac (not a recording)" in refused(root)


def test_nothing_left(tmp_path: Path, make: SimpleNamespace) -> None:
    none = make.write(tmp_path / "none", {"a/1.wav": b"", "b/1.wav": b""})
    assert refused(none, skip_bad=True) == f"{none} has no readable recording: a/1.wav (an empty file)"
    silent = make.write(tmp_path / "silent", dict.fromkeys(("a/1.wav", "b/1.wav"), wav(np.zeros(4000))))
    assert refused(silent) == f"{silent} holds nothing but silence, a/1.wav to begin with: record it again"
    one = make.write(tmp_path / "one", {"a/1.wav": wav(tone()), "a/2.wav": wav(tone())})
    assert (
        refused(one) == f"{one} has only one class (a): there is nothing to tell apart, add a folder for a second class"
    )
    flat = make.write(tmp_path / "flat", {"1.wav": wav(tone()), "2.wav": wav(tone())})
    assert refused(flat) == (
        f"{flat} has 2 recordings but no class folders: put each class into a folder of its own, such as {flat}/cat/1.wav"
    )
    assert refused(flat, label_from="{label}_*.wav") == (
        f"--label-from '{{label}}_*.wav' fits none of the 2 recordings of {flat}: "
        "write it like '{label}_*', '{label}/*', or as a regular expression with one group"
    )


def test_without_soundfile(tmp_path: Path, make: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make.write(tmp_path / "x", few(b__3_flac=packed(tone(), "FLAC")))
    real = builtins.__import__

    def without(name: str, *more: Any) -> Any:
        if name == "soundfile":
            raise ImportError(name)
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    assert refused(root) == (
        f"{root} has 1 unreadable recording, the first is b/3.flac "
        "(only WAV is read without the soundfile library: pip install soundfile): mend or remove them, or add --skip-bad"
    )
    assert len(shendu.data.open(root, skip_bad=True).splits["train"]) == 4


def opened_or_refused(data: bytes, end: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "x"
        for name, content in {"a/1.wav": wav(tone(0.3)), "b/1.wav": wav(tone(0.3, 900)), f"b/2{end}": data}.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        found: Dataset | str = ""
        try:
            found = shendu.data.open(root)
        except UserError as error:
            found = str(error)
        if isinstance(found, str):
            assert "\n" not in found
            assert "b/2" in found
        else:
            assert found.splits["train"].columns["recording"].nbytes < 3 * 400_000


@settings(max_examples=80, deadline=8000, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_hostile_wav(data: st.DataObject) -> None:
    """Any bytes, and good files with some bytes changed, cut or doubled: recordings or one line, and quickly."""
    whole = bytearray(data.draw(st.sampled_from([
        wav(tone(0.3)), wav(tone(0.3), more=True, extensible=True), wav(np.stack([tone(0.3)] * 3, 1), tag=3, bits=32),
        wav(tone(0.3), bits=24), packed(tone(0.3), "FLAC"), packed(tone(0.3), "OGG"), b"",
    ])))  # fmt: skip
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, max(0, min(len(whole), 64) - 1)))
        whole[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=6))
    end = data.draw(st.sampled_from([len(whole), len(whole), len(whole) // 2, 50]))
    opened_or_refused(bytes(whole[:end]), data.draw(st.sampled_from([".wav", ".flac", ".mp3"])))


def test_many_small_chunks_end() -> None:
    began = time.perf_counter()
    with pytest.raises(ValueError, match="a WAV file without samples"):
        recording.probe(b"RIFF\0\0\0\0WAVE" + bytes(1 << 22))
    assert time.perf_counter() - began < 1


@pytest.mark.data
def test_free_spoken_digits() -> None:
    data = shendu.data.open("fsdd")
    assert data.classes == tuple("0123456789")
    assert {split: len(rows) for split, rows in data.splits.items()} == {"train": 2700, "test": 300}
    assert data.fields["recording"].rate == 8000
    counts = np.bincount(data.splits["test"].column("label"))
    assert counts.tolist() == [30] * 10


def test_a_batch_prepared_in_slices_is_the_batch() -> None:
    data = shendu.data.open("chirps")
    task, rows = labelled(data), torch.from_numpy(data.splits["train"].columns["recording"][:9])
    whole = task.prepare({"x": rows})["x"]
    parts = torch.cat([task.prepare({"x": part})["x"] for part in rows.split(4)])
    torch.testing.assert_close(whole, parts, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("between", [b"", b"LIST" + struct.pack("<I", 3) + b"abc\0"])
def test_samples_in_two_parts_are_refused(between: bytes, tmp_path: Path, make: SimpleNamespace) -> None:
    whole = wav(tone())
    second = between + b"data" + struct.pack("<I", 200) + bytes(200)
    twice = b"RIFF" + struct.pack("<I", len(whole) - 8 + len(second)) + whole[8:] + second
    root = make.write(tmp_path, few(a__3_wav=twice))
    assert "the first is a/3.wav (samples in two parts ('data' twice): save it anew as one)" in refused(root)
    with pytest.raises(ValueError, match="samples in two parts"):
        recording.probe(twice)
