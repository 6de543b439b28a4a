"""Pictures as they lie on disks: every size, mode and damage gives pixels or one line, and reading once is quick."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

import shendu.data
from shendu.data.fields.image import Image
from shendu.data.files import picture as picture_file
from shendu.data.files import worker
from shendu.data.pixels import fit_picture
from shendu.errors import UserError

pytestmark = pytest.mark.usefixtures("fresh_cache")

RED, WHITE = [255, 0, 0], [255, 255, 255]


def saved(picture: Any, kind: str = "png", **options: Any) -> bytes:
    out = io.BytesIO()
    (Pillow.fromarray(picture) if isinstance(picture, np.ndarray) else picture).save(out, kind, **options)
    return out.getvalue()


def pixels(data: bytes, height: int, width: int, channels: int = 3) -> np.ndarray:
    return picture_file.read_picture(data, Image(height=height, width=width, channels=channels))


def photo(height: int = 40, width: int = 60, seed: int = 0) -> np.ndarray:
    """Smooth colours, as a photo has them."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8)
    return np.asarray(Pillow.fromarray(small).resize((width, height), Pillow.Resampling.BICUBIC))


def opened(root: Path, files: dict[str, bytes], make: SimpleNamespace, **how: Any) -> np.ndarray:
    return shendu.data.open(make.write(root, files), **how).splits["train"].column("image")


def refused(path: Path, **how: Any) -> str:
    with pytest.raises(UserError) as caught:
        shendu.data.open(path, **how)
    message = str(caught.value)
    assert "\n" not in message
    return message


def bad(path: Path, entry: str, why: str) -> str:
    return f"{path} has 1 unreadable picture, the first is {entry} ({why}): mend or remove them, or add --skip-bad"


# ---- modes


def test_every_mode_of_a_picture_becomes_its_colours() -> None:
    row = np.array([[RED, WHITE]], np.uint8)
    plain = Pillow.fromarray(row)
    seen = {
        "palette": saved(plain.quantize(2)),
        "palette, transparent": saved(plain.quantize(2), transparency=plain.quantize(2).getpixel((1, 0))),
        "alpha": saved(np.array([[[255, 0, 0, 255], [9, 9, 9, 0]]], np.uint8)),
        "16-bit colour": png(1, 2, 16, 2, np.array([[[65535, 0, 0], [65535] * 3]], ">u2").tobytes()),
        "CMYK": saved(plain.convert("CMYK"), "tiff"),
        "GIF": saved(plain, "gif"),
        "BMP": saved(plain, "bmp"),
        "PPM": saved(plain, "ppm"),
        "WebP": saved(plain, "webp", lossless=True),
    }
    for mode, data in seen.items():
        assert pixels(data, 1, 2).tolist() == [[RED, WHITE]], mode


def test_every_gray_becomes_eight_bits() -> None:
    deep = np.array([[0, 257 * 7, 65535]], np.uint16)
    seen = {
        "16-bit PNG": saved(deep),
        "16-bit TIFF": saved(deep, "tiff"),
        "16-bit PGM": b"P5 3 1 65535\n" + deep.astype(">u2").tobytes(),
        "with alpha": saved(np.array([[[0, 255], [7, 255], [0, 0]]], np.uint8)),
    }
    for mode, data in seen.items():
        assert pixels(data, 1, 3, 1)[..., 0].tolist() == [[0, 7, 255]], mode
    black_and_white = saved(Pillow.fromarray(np.array([[0, 255, 255]], np.uint8)).convert("1"))
    assert pixels(black_and_white, 1, 3, 1)[..., 0].tolist() == [[0, 255, 255]]


def png(height: int, width: int, bits: int, kind: int, rows: bytes) -> bytes:
    """A PNG written by hand: `kind` 2 is RGB; `rows` without their filter bytes."""
    step = len(rows) // max(height, 1)
    filtered = b"".join(b"\0" + rows[i * step : (i + 1) * step] for i in range(height if rows else 0))
    parts = (b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)), (b"IDAT", zlib.compress(filtered))
    chunks = b"".join(
        struct.pack(">I", len(d)) + name + d + struct.pack(">I", zlib.crc32(name + d))
        for name, d in (*parts, (b"IEND", b""))
    )
    return b"\x89PNG\r\n\x1a\n" + chunks


# ---- more than 8 bits


RAMP = np.linspace(0, 1, 24 * 24).reshape(24, 24)
FORMS = {"8-bit PNG": ("png", np.uint8, 1), "16-bit PNG": ("png", np.uint16, 257), "16-bit TIFF": ("tiff", np.uint16, 257),
         "8 bits in 16": ("tiff", np.uint16, 1), "32-bit TIFF": ("tiff", np.int32, 257), "float": ("tiff", np.float32, 1),
         "float of 0 to 1": ("tiff", np.float32, 1 / 255)}  # fmt: skip


def deep(rows: list[np.ndarray], kind: str) -> dict[str, bytes]:
    return {f"{'ab'[i % 2]}/{i}.{kind}": saved(row, kind) for i, row in enumerate(rows)}


def stored(root: Path, rows: list[np.ndarray], kind: str, make: SimpleNamespace) -> tuple[list[np.ndarray], Any]:
    """The stored pictures in the order of `rows`, and the data."""
    data = shendu.data.open(make.write(root, deep(rows, kind)))
    images = data.splits["train"].column("image")[..., 0]
    return [images[i // 2 + (len(rows) + 1) // 2 * (i % 2)] for i in range(len(rows))], data


@pytest.mark.parametrize("form", FORMS)
def test_eight_bits_in_another_dress_are_the_same_bytes(form: str, tmp_path: Path, make: SimpleNamespace) -> None:
    kind, dtype, step = FORMS[form]
    rows = [np.random.default_rng(i).integers(0, 256, (6, 5)) for i in range(4)]
    found, _ = stored(tmp_path / "x", [(row * step).astype(dtype) for row in rows], kind, make)
    assert np.array_equal(found, rows)


@pytest.mark.parametrize("bits", [9, 10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_deep_pictures_keep_their_levels(bits: int, kind: str, tmp_path: Path, make: SimpleNamespace) -> None:
    bright = np.rint(RAMP * (2**bits - 1)).astype(np.uint16)
    (whole, half, *_), data = stored(tmp_path / "x", [bright, bright // 2, bright, bright], kind, make)
    assert data.fields["image"].levels == (0, 2**bits - 1)
    assert np.array_equal(whole, np.rint(bright / (2**bits - 1) * 255))
    assert abs(int(half.max()) - 127) <= 1
    assert data.notes == (
        f"pictures of more than 8 bits: 0 to {2**bits - 1:,}, where the training part lies, becomes 0 to 255, also at prediction",
    )


def test_floating_point_pictures_keep_their_order(tmp_path: Path, make: SimpleNamespace) -> None:
    rows = [(RAMP * most).astype(np.float32) for most in (0.9, 1.1, 300.0, 700.0)]
    found, data = stored(tmp_path / "x", rows, "tiff", make)
    assert [int(row.max()) for row in found] == [round(most / 1023 * 255) for most in (0.9, 1.1, 300, 700)]
    assert data.fields["image"].levels == (0, 1023)


@pytest.mark.parametrize(
    ("low", "high", "levels"),
    [(-1000.0, 2000.0, (-1000, 2000)), (31_000.0, 34_000.0, (31_000, 34_000)), (0.0, 0.2, (0, float(np.float32(0.2)))), (1e-9, 3e-9, None),
     (250.0, 320.0, (250, 320)), (5.0, 5.0, (5, 6))],
)  # fmt: skip
def test_a_range_that_is_no_depth_is_taken_as_it_is(
    low: float, high: float, levels: tuple[float, ...] | None, tmp_path: Path, make: SimpleNamespace
) -> None:
    rows = [(low + RAMP * (high - low)).astype(np.float32)] * 2
    (found, _), data = stored(tmp_path / "x", rows, "tiff", make)
    assert levels is None or data.fields["image"].levels == levels
    assert np.abs(found - RAMP * 255 * (high > low)).max() <= 1


def test_a_hot_pixel_does_not_darken_the_rest(tmp_path: Path, make: SimpleNamespace) -> None:
    rows = [np.rint(np.linspace(0, 4095, 64 * 64)).reshape(64, 64).astype(np.uint16) for _ in range(4)]
    rows[0][0, 0] = 65535
    (found, *_), data = stored(tmp_path / "x", rows, "png", make)
    assert data.fields["image"].levels == (0, 4095)
    assert found[0, 0] == 255
    assert len(np.unique(found)) == 256
    assert "where 99.9% of the training part's pixels lie, the rest is cut" in data.notes[0]


def test_values_that_are_not_there_are_black(tmp_path: Path, make: SimpleNamespace) -> None:
    from PIL import TiffImagePlugin

    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[42113] = "-9999"
    rows = [np.where(RAMP < 0.3, gone, 100 + RAMP).astype(np.float32) for gone in (np.nan, np.inf, -9999)]
    files = {
        f"{c}/{i}.tiff": saved(row, "tiff", tiffinfo=info) for i, (c, row) in enumerate(zip("aba", rows, strict=True))
    }
    data = shendu.data.open(make.write(tmp_path / "x", files))
    assert np.allclose(data.fields["image"].levels, (100.3, 101), atol=0.01)
    assert (data.splits["train"].column("image")[:, RAMP < 0.3] == 0).all()


def test_the_training_part_alone_tells_the_range(tmp_path: Path, make: SimpleNamespace) -> None:
    files = {
        f"train/{name}": data
        for name, data in deep([np.full((4, 4), 600, np.uint16) + i for i in range(4)], "png").items()
    }
    files |= {
        f"test/{name}": data for name, data in deep([np.full((4, 4), v, np.uint16) for v in (601, 9000)], "png").items()
    }
    data = shendu.data.open(make.write(tmp_path / "x", files))
    assert data.fields["image"].levels == (600, 603)
    assert data.splits["test"].column("image")[:, 0, 0, 0].tolist() == [85, 255]


@pytest.mark.parametrize("most", [603, 9000])
def test_values_beyond_those_of_training_are_said_once(most: int, tmp_path: Path, make: SimpleNamespace) -> None:
    rows = [np.full((4, 4), 600, np.uint16) + i for i in range(4)]
    data = shendu.data.open(make.write(tmp_path / "x", deep(rows, "png")))
    asked = [np.full((4, 4), v, np.uint16) for v in (601, most, most)]
    folder = make.write(tmp_path / "new", {f"{i}.png": saved(row, "png") for i, row in enumerate(asked)})
    line = "there are pictures with values beyond 600 to 603, which is what was learned: they are cut there"
    for what in (folder, np.stack(asked), asked, [Pillow.fromarray(row) for row in asked]):
        told: list[str] = []
        for piece in shendu.data.pieces([what], {"image": data.fields["image"]}, say=told.append):
            told += piece.notes
        assert told == [line] * (most > 603), type(what)


def test_deep_pictures_beside_others(tmp_path: Path, make: SimpleNamespace) -> None:
    plain, full = np.rint(RAMP * 255).astype(np.uint8), np.rint(RAMP * 65535).astype(np.uint16)
    found, data = stored(tmp_path / "x", [plain, full, plain, plain], "png", make)
    assert np.abs(np.subtract(found, plain, dtype=int)).max() <= 1
    assert data.notes == ("1 picture of 16 bits among pictures of 8 bits: 65,535 becomes 255",)
    dark = make.write(tmp_path / "y", deep([plain, full // 16, plain, plain], "png"))
    assert refused(dark) == (
        f"{dark} has 1 picture of more than 8 bits, such as b/1.png, that hold nothing above 4,095, among pictures of 8 bits: "
        "save all with 8 bits, or all with 16"
    )


def test_deep_colours_are_read_or_refused(tmp_path: Path, make: SimpleNamespace) -> None:
    colours = np.repeat(np.rint(RAMP * 4095)[..., None], 3, 2)
    for step, name in ((16, "full"), (1, "dark")):
        data = png(24, 24, 16, 2, (colours * step).astype(">u2").tobytes())
        make.write(tmp_path / name, {f"{c}/{i}.png": data for c in "ab" for i in range(2)})
    assert shendu.data.open(tmp_path / "full").notes == ("4 pictures of 16 bits a colour: the upper 8 are read",)
    assert refused(tmp_path / "dark") == (
        f"{tmp_path / 'dark'} has 4 pictures of 16 bits a colour, such as a/0.png, of which the upper 8 are read, and these "
        "hold nothing above 15: save them with 8 bits, or gray with 16"
    )


def test_what_is_predicted_has_the_range_that_was_learned(tmp_path: Path) -> None:
    field = Image(height=24, width=24, channels=1, levels=(0.0, 4095.0))
    assert Image.from_json(field.to_json()) == field
    values = np.rint(RAMP * 4095)
    wanted = np.rint(values / 4095 * 255)
    for dtype, kind in ((np.uint16, "png"), (np.float32, "tiff"), (np.int32, "tiff")):
        own = values.astype(dtype)
        (tmp_path / f"x.{kind}").write_bytes(saved(own, kind))
        for value in (Pillow.fromarray(own), own, own[None], own[..., None]):
            assert np.array_equal(field.parse(value)[""][0, ..., 0], wanted), (dtype, type(value))
        assert np.array_equal(picture_file.read_picture(tmp_path / f"x.{kind}", field)[..., 0], wanted)
    assert np.array_equal(field.parse(values.astype(np.float64))[""][0, ..., 0], wanted)
    assert np.array_equal(field.parse(wanted.astype(np.uint8))[""][0, ..., 0], wanted)  # as it is stored
    with pytest.raises(UserError, match="8 bits, where values of 0 to 4095 were learned: give it as those are"):
        picture_file.read_picture(saved(wanted.astype(np.uint8)), field)
    plain = Image(height=24, width=24, channels=1)
    with pytest.raises(
        UserError, match="cannot read the picture: floating-point values, whose black and white are not"
    ):
        picture_file.read_picture(saved(values.astype(np.float32), "tiff"), plain)
    with pytest.raises(UserError, match=r"as uint8 .*this array is uint16"):
        plain.parse(values.astype(np.uint16))


def test_cmyk_jpegs_keep_their_colours() -> None:
    flat = Pillow.new("RGB", (16, 16), (200, 40, 90))
    shown = pixels(saved(flat.convert("CMYK"), "jpeg"), 16, 16)
    assert np.abs(shown.astype(int) - (200, 40, 90)).max() <= 8


@pytest.mark.parametrize("kind", ["gif", "png", "webp", "tiff"])
def test_of_an_animation_the_first_frame_is_read(kind: str) -> None:
    frames = [Pillow.new("RGB", (8, 8), colour) for colour in ("red", "white", "blue")]
    options = {"lossless": True} if kind == "webp" else {}
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert (pixels(data, 8, 8) == RED).all()


# ---- the way up


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_undone(kind: str, orientation: int, tmp_path: Path, make: SimpleNamespace) -> None:
    upright = Pillow.fromarray(np.kron(np.array([[0, 80, 160], [240, 120, 40]], np.uint8), np.ones((8, 8), np.uint8)))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # what turns an upright picture into the stored one
    stored = upright.transpose(Pillow.Transpose(undo[orientation])) if orientation > 1 else upright
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    data = saved(stored, kind, exif=exif)
    shown = opened(tmp_path / "x", {f"a/1.{kind}": data, f"b/1.{kind}": data}, make)[0]
    assert shown.shape[:2] == (16, 24)
    assert np.abs(shown[..., 0].astype(int) - np.asarray(upright)).max() <= 8


def test_damaged_exif_data_do_not_matter() -> None:
    picture = photo()
    for junk in (b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"):
        assert np.array_equal(pixels(saved(picture, "jpeg", exif=junk), 40, 60), pixels(saved(picture, "jpeg"), 40, 60))


# ---- sizes


def test_large_pictures_of_one_size_are_stored_smaller(tmp_path: Path, make: SimpleNamespace) -> None:
    files = {f"{c}/1.jpg": saved(photo(448, 672, i), "jpeg", quality=95) for i, c in enumerate("ab")}
    data = shendu.data.open(make.write(tmp_path / "x", files))
    assert data.fields["image"] == Image(height=224, width=336, channels=3)
    assert data.notes == ("pictures of 448×672 pixels brought to 224×336: the shorter side at most 224",)
    wanted = Pillow.fromarray(photo(448, 672)).resize((336, 224), Pillow.Resampling.BILINEAR)
    assert np.abs(data.splits["train"].column("image")[0].astype(int) - np.asarray(wanted)).mean() < 2


@pytest.mark.parametrize("gray", [False, True])
def test_a_jpeg_that_is_decoded_smaller_is_the_same_picture(gray: bool) -> None:
    picture = Pillow.fromarray(photo(900, 1300)).convert("L" if gray else "RGB")
    plain, marked = saved(picture, "jpeg", quality=95), saved(picture, "jpeg", quality=95, exif=Pillow.Exif())
    for height, width in ((900, 1300), (300, 300), (224, 224), (100, 150), (7, 5)):
        column = Image(height=height, width=width, channels=1 if gray else 3)
        full = fit_picture(picture, column.stored).astype(int)
        for data in (plain, marked):
            assert np.abs(picture_file.read_picture(data, column).astype(int) - full).mean() < 3


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 100}, {"restart_marker_rows": 1}]
)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_quick_way_to_a_jpeg_is_pillows(mode: str, options: dict[str, Any]) -> None:
    data = saved(Pillow.fromarray(photo()).convert(mode), "jpeg", **options)
    column = Image(height=40, width=60, channels=len(mode))
    quick = picture_file._decoded_jpeg(data, column)
    assert quick is not None
    with Pillow.open(io.BytesIO(data)) as wanted:
        assert np.array_equal(np.asarray(quick), np.asarray(wanted))
    assert picture_file.probe(data)[:3] == (40, 60, mode == "L")


@pytest.mark.parametrize("where", ["first", "last"])
def test_pictures_that_are_not_as_the_first_one(where: str, tmp_path: Path, make: SimpleNamespace) -> None:
    odd = {
        "gray": saved(photo()[..., 0], "jpeg"),
        "larger": saved(photo(80, 120), "jpeg"),
        "turned": saved(photo(60, 40)),
    }
    for what, data in odd.items():
        files = {f"{c}/{i}.jpg": saved(photo(seed=i), "jpeg") for i in range(1, 5) for c in "ab"}
        files["a/0.jpg" if where == "first" else "b/9.jpg"] = data
        read = shendu.data.open(make.write(tmp_path / f"{what}-{where}", files))
        rows = read.splits["train"].column("image")
        column = read.fields["image"]
        assert column == (
            Image(height=40, width=60, channels=3) if what == "gray" else Image(height=40, width=40, channels=3)
        )
        for row, entry in zip(rows, sorted(files), strict=True):
            assert np.array_equal(row, picture_file.read_picture(files[entry], column))


def test_pictures_of_one_pixel(tmp_path: Path, make: SimpleNamespace) -> None:
    files = {
        f"{c}/{i}.png": saved(np.array([[value + i]], np.uint8)) for c, value in (("a", 0), ("b", 100)) for i in (0, 1)
    }
    assert opened(tmp_path / "x", files, make)[:, 0, 0, 0].tolist() == [0, 1, 100, 101]


def test_one_picture_in_a_class(tmp_path: Path, make: SimpleNamespace) -> None:
    root = make.write(tmp_path / "x", make.pictures(["a/1.png", "b/1.png"]))
    data = shendu.data.open(root).split_off()
    assert {part: len(rows) for part, rows in data.splits.items()} == {"train": 2}


# ---- two processes


def many(odd: bytes = b"") -> dict[str, bytes]:
    """900 small JPEGs, perhaps with one among the last that is not as they are."""
    kinds = [saved(photo(16, 16, i), "jpeg") for i in range(9)]
    files = {f"{c}/{i:03}.jpg": kinds[i % 9] for c in "ab" for i in range(450)}
    return {**files, **({"b/440.jpg": odd} if odd else {})}


@pytest.mark.parametrize("packing", ["folder", "zip", "tar"])
@pytest.mark.parametrize("odd", [b"", saved(photo(16, 16, 99))])
def test_a_second_process_reads_the_same(
    packing: str, odd: bytes, tmp_path: Path, make: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = many(odd)
    place = tmp_path / f"x.{packing}"
    {"folder": make.write, "zip": make.write_zip, "tar": make.write_tar}[packing](place, files)
    answered = []
    decode = worker.Worker.decode
    monkeypatch.setattr(
        worker.Worker, "decode", lambda self, chunk: answered.append(decode(self, chunk)) or answered[-1]
    )
    monkeypatch.setattr(worker, "LEAST", 1)
    rows = shendu.data.open(place).splits["train"].column("image")
    assert answered
    for row, entry in zip(rows, sorted(files), strict=True):
        assert np.array_equal(row, picture_file.read_picture(files[entry], Image(height=16, width=16, channels=3)))


@pytest.mark.parametrize("fault", ["no python", "ends at once"])
def test_without_a_second_process_all_is_read_here(
    fault: str, tmp_path: Path, make: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make.write(tmp_path / "x", many())
    monkeypatch.setattr(worker, "LEAST", 1)
    if fault == "no python":
        monkeypatch.setattr(worker.sys, "executable", str(tmp_path / "nothing"))
    else:
        monkeypatch.setattr(worker, "_START", "pass")
    rows = shendu.data.open(root).splits["train"].column("image")
    assert np.array_equal(rows[0], rows[9])
    assert rows[-1].any()


def test_a_second_process_and_pictures_that_are_broken_or_different(
    tmp_path: Path, make: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "LEAST", 1)
    cut = make.write(tmp_path / "cut", many(saved(photo(16, 16), "jpeg")[:-20]))
    assert refused(cut) == bad(cut, "b/440.jpg", "cut short")
    assert shendu.data.open(cut, skip_bad=True).notes == ("1 unreadable picture skipped: b/440.jpg",)
    larger = shendu.data.open(make.write(tmp_path / "larger", many(saved(photo(20, 30), "jpeg"))))
    assert larger.fields["image"] == Image(height=16, width=16, channels=3)
    assert larger.notes[0].startswith("pictures of 2 sizes (16×16 to 20×30 pixels) brought to 16×16")


# ---- broken pictures, and the line that a person sees


def broken() -> dict[str, tuple[bytes, str]]:
    jpeg, whole = saved(photo(), "jpeg"), saved(photo())
    return {
        "empty": (b"", "an empty file"),
        "text": (b"these are words, not a picture\n" * 9, "not a picture"),
        "html": (
            b"<!DOCTYPE html><html><body>404</body></html>",
            "not a picture, but a web page, as a failed download leaves it: download it again",
        ),
        "a telephone's": (
            b"\0\0\0\x18ftypheic" + bytes(90),
            "not a picture, but .heic inside: convert with magick IN.heic OUT.png",
        ),
        "one byte": (b"\xff", "not a picture"),
        "zeros": (bytes(500), "not a picture"),
        "a JPEG's first bytes": (jpeg[:20], "not a picture"),
        "a PNG's first bytes": (whole[:33], "not a picture"),
        "a JPEG cut in its header": (jpeg[:400], "cut short"),
        "a JPEG cut in its pixels": (jpeg[:-60], "cut short"),
        "a PNG cut in its pixels": (whole[:-60], "cut short"),
        "a bomb": (png(50_000, 50_000, 8, 2, b""), "more than 100,000,000 pixels"),
        "a large JPEG": (wide(jpeg, 10_001, 10_000), "10,000 × 10,001 pixels, more than 100,000,000"),
        "a JPEG without pixels": (wide(jpeg, 0, 0), "not a picture"),
    }


def wide(jpeg: bytes, height: int, width: int) -> bytes:
    """The JPEG with another size in its header."""
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]


@pytest.mark.parametrize("what", broken())
def test_a_broken_picture_is_named(what: str, tmp_path: Path, make: SimpleNamespace) -> None:
    data, why = broken()[what]
    files = {f"{c}/{i}.jpg": saved(photo(seed=i), "jpeg") for i in range(3) for c in "ab"}
    root = make.write(tmp_path / "x", {**files, "b/broken.jpg": data})
    assert refused(root) == bad(root, "b/broken.jpg", why)
    read = shendu.data.open(root, skip_bad=True)
    assert read.notes == ("1 unreadable picture skipped: b/broken.jpg",)
    assert read.splits["train"].column("label").tolist() == [0, 0, 0, 1, 1, 1]
    assert read.splits["train"].column("image").shape == (6, 40, 60, 3)


def test_nothing_but_broken_pictures(tmp_path: Path, make: SimpleNamespace) -> None:
    half = saved(photo(), "jpeg")[:-60]
    root = make.write(tmp_path / "x", {"a/1.jpg": half, "b/1.jpg": half})
    assert refused(root, skip_bad=True).startswith(f"{root} has no readable picture: a/1.jpg (cut short")


def test_an_emoji_as_a_file_name(tmp_path: Path, make: SimpleNamespace) -> None:
    files = {"🐈/😺.png": saved(photo()), "🐕/🐶.png": saved(photo(seed=1))}
    assert shendu.data.open(make.write(tmp_path / "x", files)).classes == ("🐈", "🐕")
    assert shendu.data.open(make.write_zip(tmp_path / "x.zip", files)).classes == ("🐈", "🐕")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_a_picture_that_may_not_be_read(tmp_path: Path, make: SimpleNamespace) -> None:
    root = make.write(tmp_path / "x", make.pictures(["a/1.png", "b/1.png"]))
    (root / "b" / "1.png").chmod(0)
    assert refused(root) == bad(root, "b/1.png", "Permission denied")


def test_a_symlink_loop_is_a_picture_that_cannot_be_read(tmp_path: Path, make: SimpleNamespace) -> None:
    root = make.write(tmp_path / "x", make.pictures(["a/1.png", "b/1.png"]))
    (root / "b" / "2.png").symlink_to(root / "b" / "3.png")
    (root / "b" / "3.png").symlink_to(root / "b" / "2.png")
    assert refused(root, skip_bad=False) == (
        f"{root} has 2 unreadable pictures, the first is b/2.png (Too many levels of symbolic links): "
        "mend or remove them, or add --skip-bad"
    )


# ---- archives


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("entry", ["../a/1.png", "/etc/a/1.png", "a/../../1.png", "C:\\a\\1.png"])
def test_a_path_that_leaves_the_archive(kind: str, entry: str, tmp_path: Path, make: SimpleNamespace) -> None:
    place = tmp_path / f"x.{kind}"
    writer = make.write_zip if kind == "zip" else make.write_tar
    writer(place, {**make.pictures(["a/1.png", "b/1.png"]), entry: b""})
    assert refused(place) == f"{place} has an entry outside of its folder ({entry!r}): pack it without such paths"


def test_an_archive_that_is_cut_short(tmp_path: Path, make: SimpleNamespace) -> None:
    files = {f"{c}/{i}.png": saved(photo(seed=i)) for c in "ab" for i in range(20)}
    for kind, writer in (("zip", make.write_zip), ("tar", make.write_tar), ("tar.gz", make.write_tar)):
        place = tmp_path / f"x.{kind}"
        writer(place, files)
        place.write_bytes(place.read_bytes()[: place.stat().st_size // 2])
        message = refused(place)
        assert message.startswith(f"{place} is damaged or cut short (")
        assert message.endswith("): download or pack it again")


def test_archives_in_an_archive(tmp_path: Path, make: SimpleNamespace) -> None:
    inner = make.write_zip(tmp_path / "inner.zip", make.pictures(["a/1.png", "b/1.png"])).read_bytes()
    place = make.write_zip(tmp_path / "x.zip", {"one.zip": inner, "two.zip": inner})
    assert refused(place) == f"{place} holds other archives, such as one.zip: unpack it and name one of them"


def test_an_entry_whose_size_lies(tmp_path: Path, make: SimpleNamespace) -> None:
    place = make.write_zip(tmp_path / "x.zip", make.pictures(["a/1.png", "b/1.png"]))
    data = bytearray(place.read_bytes())
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = struct.pack("<I", 9)
    place.write_bytes(bytes(data))
    assert refused(place).startswith(f"{place} has 1 unreadable picture, the first is a/1.png (")


def test_an_archives_entry_with_a_wrong_checksum(tmp_path: Path, make: SimpleNamespace) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in make.pictures(["a/1.png", "b/1.png"]).items():
            archive.writestr(name, data)
    whole = bytearray((tmp_path / "x.zip").read_bytes())
    at = whole.index(b"PK\x01\x02") + 16
    whole[at] ^= 1
    (tmp_path / "x.zip").write_bytes(bytes(whole))
    assert refused(tmp_path / "x.zip") == bad(
        tmp_path / "x.zip", "a/1.png", "damaged in the archive (Bad CRC-32 for file 'a/1.png')"
    )


def test_links_in_an_archive_are_left_out(tmp_path: Path, make: SimpleNamespace) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, data in make.pictures(["a/1.png", "b/1.png"]).items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        link = tarfile.TarInfo("b/2.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert len(shendu.data.open(tmp_path / "x.tar").splits["train"]) == 2


# ---- any bytes at all

SEEDS = [
    saved(photo(), "jpeg"), saved(photo(), "jpeg", progressive=True), saved(photo()), saved(photo()[..., 0]),
    saved(photo(), "jpeg", exif=Pillow.Exif()), saved(Pillow.fromarray(photo()).quantize(9)), saved(photo(), "gif"),
    saved(photo(), "tiff"), saved(photo(), "webp"), saved(photo(), "bmp"), saved(photo(), "ppm"),
]  # fmt: skip


@settings(max_examples=400, deadline=2000, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=4)), max_size=6),
    st.floats(0, 1),
    st.booleans(),
)
def test_mutated_pictures_give_pixels_or_one_line(
    seed: bytes, changes: list[tuple[float, bytes]], cut: float, whole: bool
) -> None:
    data = bytearray(seed)
    for share, new in changes:
        at = int(share**3 * len(data))  # headers decide most, so they are hit most
        data[at : at + len(new)] = new
    given_bytes = bytes(data) if whole else bytes(data[: int(cut * len(data))])
    column = Image(height=20, width=30, channels=3)
    try:
        read = picture_file.read_picture(given_bytes, column)
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017 (pixels are as good an outcome)
        assert len(str(error)) < 400  # noqa: PT017
    else:
        assert read.shape == column.stored
        assert read.dtype == np.uint8


@settings(max_examples=200, deadline=2000)
@given(st.binary(max_size=200))
def test_bytes_behind_a_jpegs_beginning(data: bytes) -> None:
    size = picture_file._plain_jpeg(b"\xff\xd8\xff\xe0" + data)
    assert size is None or size[0] * size[1] <= picture_file.PIXELS_MOST


@pytest.mark.parametrize(("kind", "suffix"), [("gif", "gif"), ("tiff", "tif"), ("webp", "webp"), ("png", "png")])
@pytest.mark.parametrize("where", [0, 3])
def test_only_the_first_of_several_frames_is_read(
    kind: str, suffix: str, where: int, tmp_path: Path, make: SimpleNamespace
) -> None:
    first, second = photo(16, 16, 1), photo(16, 16, 2)
    one = saved(first, kind)
    more = saved(Pillow.fromarray(first), kind, save_all=True, append_images=[Pillow.fromarray(second)])
    files = {f"{'ab'[i % 2]}/{i}.{suffix}": more if i == where else one for i in range(6)}
    data = shendu.data.open(make.write(tmp_path, files))
    assert data.notes == (
        f"1 picture of several frames or pages: the first is read, as of {'ab'[where % 2]}/{where}.{suffix}",
    )
    images = data.splits["train"].column("image").astype(int)
    assert np.abs(images - images[1]).max() <= 16, "WebP is lossy"
    assert picture_file.several(more)
    assert not picture_file.several(one)
