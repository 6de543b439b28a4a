"""Recordings in class folders, or named by their class: WAV, FLAC, OGG, MP3.

Shape letters: N rows.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from shendu.data import sound
from shendu.data.class_folders import ClassFolders
from shendu.data.fields.audio import Audio
from shendu.data.fields.category import Category
from shendu.data.files import recording
from shendu.data.files.archive import Tree
from shendu.data.files.cache import Decoded, Room
from shendu.data.files.layout import RECORDINGS, Plan, count, each, first, refuse, skipped
from shendu.data.files.recording import HEAD, SECONDS_HEARD, Header
from shendu.errors import UserError
from shendu.field import Field
from shendu.shown import line

RATE_MOST = 16_000
"""Hz: recordings are stored at no higher rate; it holds all of speech."""
SECONDS_LEAST, SECONDS_MOST = 0.25, 10.0
"""How long the stored recordings may be; of longer ones the loudest part is kept."""
COVERED = 98.0
"""Percent of the training recordings that are stored in full."""


class Recordings(ClassFolders):
    """Recordings of any rate and length in class folders, brought to one."""

    name = "recordings"
    wanted = "a WAV, FLAC or other recording"
    field = "audio"
    files = RECORDINGS
    most = HEAD

    def decoded(self, tree: Tree, laid: Plan, name: str, room: Room, skip_bad: bool = False) -> Decoded:
        return decoded(tree, laid, name, room, skip_bad)

    def row(self, data: bytes, field: Audio) -> np.ndarray:
        return row(data, field)

    def reason(self, error: Exception) -> str:
        return recording.reason(error)


def row(data: bytes, field: Audio) -> np.ndarray:
    """A file's beginning as it is stored: int16 [length]. Raises ValueError."""
    return sound.fitted(recording.decoded(data, field.rate), field.length)


def decoded(tree: Tree, laid: Plan, name: str, room: Room, skip_bad: bool = False) -> Decoded:
    """Recordings int16 [N, length] and labels int64 [N]; raises UserError for unreadable recordings."""
    classes = laid.classes(name)
    bad: dict[str, str] = {}
    headers: dict[str, Header] = {}

    def keep(entry: str, found: Any) -> None:
        if isinstance(found, str):
            bad[entry] = found
        else:
            headers[entry] = found

    each(tree, laid.names(), recording.probe, keep, recording.reason, HEAD)
    refuse(bad, name, "recording", skip_bad)
    if not headers:
        raise UserError(f"{name} has no readable recording: {first(bad)}")
    train = [headers[entry] for entry, _ in laid.splits["train"] if entry in headers]
    field, notes = _common(list(headers.values()), train or list(headers.values()))
    rows = {split: [(e, label) for e, label in entries if e in headers] for split, entries in laid.splits.items()}
    places: dict[str, tuple[np.ndarray, int]] = {}
    recordings: dict[str, np.ndarray] = {}
    for split, entries in rows.items():
        if entries:
            recordings[split] = room(split, "recording", (len(entries), field.length), field.dtype)
            plain = np.asarray(recordings[split])
            places.update({entry: (plain, i) for i, (entry, _) in enumerate(entries)})
    silent = []

    def put(entry: str, found: Any) -> None:
        if isinstance(found, str):
            bad[entry] = found
            return
        if not found.any():
            silent.append(entry)
        array, i = places[entry]
        array[i] = found

    each(tree, list(places), lambda data: row(data, field), put, recording.reason, HEAD)
    refuse(bad, name, "recording", skip_bad)
    if len(silent) == len(places) - len(bad.keys() & places.keys()):
        raise UserError(f"{name} holds nothing but silence, {line(min(silent))} to begin with: record it again")
    if silent:
        notes.append(f"{count(len(silent), 'recording')} of pure silence kept, such as {line(min(silent))}")
    number = {label: i for i, label in enumerate(classes)}
    splits = {}
    for split, array in recordings.items():
        good = np.array([entry not in bad for entry, _ in rows[split]])
        labels = np.array([number[label] for _, label in rows[split]], np.int64)
        splits[split] = {"recording": array if good.all() else array[good], "label": labels[good]}
    if bad:
        notes.append(skipped(bad, "recording"))
    fields: dict[str, Field] = {"recording": field, "label": Category(names=classes)}
    return Decoded(fields=fields, splits=splits, inputs=("recording",), targets=("label",), notes=(*laid.notes, *notes))


def _common(headers: list[Header], train: list[Header]) -> tuple[Audio, list[str]]:
    """The rate and length to store, as the headers say, and notes where recordings are changed by it."""
    usual = Counter(header.rate for header in headers).most_common(1)[0][0]
    rate = min(usual, RATE_MOST)
    other = sum(header.rate != rate for header in headers)
    notes = []
    if other:
        why = "at most 16 kHz is kept" if usual > RATE_MOST else "the most common rate"
        notes.append(f"{count(other, 'recording')} of {len(headers):,} resampled to {rate:,} Hz: {why}")
    covered = float(np.percentile([header.frames / header.rate for header in train], COVERED))
    seconds = min(max(covered, SECONDS_LEAST), SECONDS_MOST)
    length = round(seconds * rate)
    lengths = [header.frames / header.rate for header in headers]
    longer = sum(round(one * rate) > length for one in lengths)
    if longer:
        limit = f"at most {SECONDS_MOST:g} s" if seconds == SECONDS_MOST else f"as long as {COVERED:g}% of them are"
        beginning = f" of the first {SECONDS_HEARD:g} s" if max(lengths) > SECONDS_HEARD else ""
        notes.append(
            f"{count(longer, 'recording')} (up to {_duration(max(lengths))}) cut to the loudest {seconds:.3g} s{beginning}: {limit}"
        )
    return Audio(rate=rate, length=length), notes


def _duration(seconds: float) -> str:
    """3.2 s, 4 min, 3 h."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
