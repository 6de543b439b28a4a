"""Which system is trained where a person names none, and why."""

from __future__ import annotations

from shendu.data.dataset import Dataset

USUAL = {
    "Image": ("resnet9", "pictures are learned by residual convolutions"),
    "Number": ("mlp", "rows of numbers are learned by fully connected layers"),
    "Audio": ("res8", "recordings are learned by residual convolutions over their spectrograms"),
    "Series": ("nbeats", "series are forecast by an ensemble of residual blocks"),
    "Sequence": ("deepbind", "sequences of letters are learned by convolutions that look for motifs"),
    "Row": ("tabm", "tables are learned by an ensemble of networks over embedded columns"),
    "Prose": ("gpt", "running text is learned by predicting each next character from those before it"),
    "Text": ("fasttext", "texts are learned by the words and pairs of words that they hold"),
}
"""Kind of the input column -> system, reason."""


def usual(dataset: Dataset) -> tuple[str, str]:
    """(system, the note that says why and how to choose another one)."""
    column = dataset.fields[dataset.input]
    system, why = USUAL[type(column).__name__]
    note = f"network: {system}, since {why} (another one: shendu train SYSTEM {dataset.name}; `shendu list` shows them)"
    return system, note
