"""Which system is trained where a person names none, and why."""

from __future__ import annotations

from shendu.data.dataset import Dataset
from shendu.errors import UserError
from shendu.recipes import HOLDS

USUAL = {
    "Image": ("resnet9", "pictures are learned by residual convolutions"),
    "Number": ("mlp", "rows of numbers are learned by fully connected layers"),
    "Audio": ("res8", "recordings are learned by residual convolutions over their spectrograms"),
    "Series": ("nbeats", "series are forecast by an ensemble of residual blocks"),
    "Sequence": ("deepbind", "sequences of letters are learned by convolutions that look for motifs"),
    "Row": ("tabm", "tables are learned by an ensemble of networks over embedded columns"),
    "Prose": ("gpt", "running text is learned by predicting each next character from those before it"),
    "Sentence": ("transformer", "translations are learned by attention between the words of both sentences"),
    "Text": ("fasttext", "texts are learned by the words and pairs of words that they hold"),
}
"""Kind of the input column -> system, reason."""
ANOMALY = ("Image", "Number", "Row")
"""Kinds in which anomalies are found."""


def usual(dataset: Dataset, task: str = "auto") -> tuple[str, str]:
    """(system, the note that says why and how to choose another one); raises UserError where none suits the task."""
    kind = type(dataset.fields[dataset.input]).__name__
    system, why = USUAL[kind]
    if task == "anomaly":
        if kind not in ANOMALY:
            raise UserError(
                f"anomalies are found in pictures, numbers and tables, and {dataset.name} holds {HOLDS[kind]}; leave --task out"
            )
        system, why = "autoencoder", "what is unlike the training rows comes back wrong from a narrow code"
    note = f"network: {system}, since {why} (another one: shendu train SYSTEM {dataset.name}; `shendu list` shows them)"
    return system, note
