"""Known sets of recordings and time series."""

from __future__ import annotations

from shendu.data.known.entry import Known, local
from shendu.reading import Reading

SETS: tuple[Known, ...] = (
    Known(
        name="fsdd",
        summary="spoken digits, 2,700 + 300 recordings of six speakers at 8 kHz, 10 classes",
        kind="archive",
        files=(
            local(
                "archive",
                "free-spoken-digit-dataset-master.zip",
                16_413_762,
                "8e0c4b7dc3e5865a95f326d3546e966b23d57fa6bd653dc06457d36fdebb9c62",
            ),
        ),
        classes=tuple(str(digit) for digit in range(10)),
        licence="CC BY-SA 4.0 (Zohar Jackson and contributors)",
        home="https://github.com/Jakobovski/free-spoken-digit-dataset",
        reading=Reading(label_from="{label}_*.wav", test_from=r"_[0-4]\.wav$"),
    ),
    Known(
        name="airline-passengers",
        summary="passengers of airlines in thousands, 144 months from 1949 on; the last 24 are the test part",
        kind="table",
        files=(
            local(
                "train",
                "airline-passengers.csv",
                2_180,
                "8cb51be753a718d9be5d76d7e238cc224792754676adc21faa59e954b0201621",
            ),
        ),
        licence="none stated; published figures (Box and Jenkins 1976)",
        home="https://github.com/jbrownlee/Datasets",
        reading=Reading(time="Month", target="Passengers"),
    ),
)
