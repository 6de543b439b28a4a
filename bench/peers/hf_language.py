"""Hugging Face's trainers on codes that are handed over in an .npz: a GPT-2 (`tokens`), or a translator of Marian's form.

`translate` trains on rows `x` and `y` [N, L] (2 ends a row, 0 is padding) in random batches, each padded to its longest row, as the
Trainer does by itself; with --grouped rows of like lengths meet, which it offers. Bars, logs and checkpoints are off, in its
favour. Prints the median tokens per second.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings

import numpy as np
import torch
import torchvision_names  # noqa: F401
from common import emit

# after torchvision_names, which makes torchvision importable
from transformers import (  # isort: skip
    GPT2Config, GPT2LMHeadModel, MarianConfig, MarianMTModel, Seq2SeqTrainer, Seq2SeqTrainingArguments, Trainer, TrainerCallback,
    TrainingArguments,
)  # fmt: skip

LIBRARIES = ["transformers", "accelerate", "torch"]
PADDING, BEGIN, END, IGNORED = 0, 1, 2, -100
WARM = 2
"""Steps before the stopwatch starts."""


class Rows(torch.utils.data.Dataset):
    """Rows of codes as dictionaries."""

    def __init__(self, fields: dict[str, list[np.ndarray]]) -> None:
        self.fields = fields

    def __len__(self) -> int:
        return len(next(iter(self.fields.values())))

    def __getitem__(self, i: int) -> dict[str, np.ndarray]:
        return {name: rows[i] for name, rows in self.fields.items()}


class Watch(TrainerCallback):
    """When each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *args, **rest) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())


def padded(rows: list[np.ndarray], value: int) -> torch.Tensor:
    out = np.full((len(rows), max(map(len, rows))), value, np.int64)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return torch.from_numpy(out)


class Pairs:
    """Sentence pairs -> a padded batch; how many target codes each one had is kept."""

    def __init__(self) -> None:
        self.counts: list[int] = []

    def __call__(self, items: list[dict[str, np.ndarray]]) -> dict[str, torch.Tensor]:
        x = padded([item["input_ids"] for item in items], PADDING)
        y = padded([item["labels"] for item in items], IGNORED)
        self.counts.append(int((y != IGNORED).sum()))
        before = torch.cat([torch.full((len(y), 1), BEGIN), y[:, :-1]], 1).masked_fill_(y == IGNORED, PADDING)
        before[:, 0] = BEGIN
        return {"input_ids": x, "attention_mask": (x != PADDING).long(), "labels": y, "decoder_input_ids": before}


def settings(said: argparse.Namespace, kind: type, **more):
    return kind(
        output_dir="hf", max_steps=said.steps + WARM, per_device_train_batch_size=said.batch, learning_rate=1e-3, max_grad_norm=1.0,
        use_cpu=said.device == "cpu", bf16=said.precision == "bf16", report_to="none", save_strategy="no",
        logging_strategy="no", disable_tqdm=True, remove_unused_columns=False, **more,
    )  # fmt: skip


def translate(said: argparse.Namespace) -> None:
    with np.load(said.file) as stored:
        sizes = json.loads(str(stored["sizes"]))
        x, y = ([row[: int((row == END).argmax()) + 1] for row in stored[name]] for name in "xy")
    model = MarianMTModel(MarianConfig(
        vocab_size=sizes["codes"], d_model=sizes["width"], encoder_layers=sizes["layers"], decoder_layers=sizes["layers"],
        encoder_attention_heads=sizes["heads"], decoder_attention_heads=sizes["heads"], encoder_ffn_dim=sizes["inner"],
        decoder_ffn_dim=sizes["inner"], dropout=sizes["dropout"], attention_dropout=0.0, activation_function="relu",
        max_position_embeddings=512, scale_embedding=True, share_encoder_decoder_embeddings=True, pad_token_id=PADDING,
        bos_token_id=BEGIN, eos_token_id=END, decoder_start_token_id=BEGIN, forced_eos_token_id=None,
    ))  # fmt: skip
    watch, collator = Watch(), Pairs()
    more = {"train_sampling_strategy": "group_by_length"} if said.grouped else {}
    how = settings(said, Seq2SeqTrainingArguments, label_smoothing_factor=0.1, **more)
    Seq2SeqTrainer(
        model=model,
        args=how,
        train_dataset=Rows({"input_ids": x, "labels": y}),
        data_collator=collator,
        callbacks=[watch],
    ).train()
    counted = sum(collator.counts[WARM : WARM + said.steps])
    report(said, model, counted / (watch.ends[-1] - watch.ends[WARM - 1]))


def tokens(said: argparse.Namespace) -> None:
    with np.load(said.file) as stored:
        sizes, text = json.loads(str(stored["sizes"])), stored["text"].astype(np.int64)
    long = sizes["context"]
    model = GPT2LMHeadModel(GPT2Config(
        vocab_size=sizes["vocabulary"], n_positions=long, n_embd=sizes["width"], n_layer=sizes["layers"], n_head=sizes["heads"],
        resid_pdrop=sizes["dropout"], embd_pdrop=sizes["dropout"], attn_pdrop=sizes["dropout"], bos_token_id=None,
        eos_token_id=None, use_cache=False,
    ))  # fmt: skip
    starts = np.random.default_rng(0).integers(0, len(text) - long, said.batch * (said.steps + WARM))
    windows = [text[i : i + long] for i in starts]
    watch = Watch()
    data = Rows({"input_ids": windows, "labels": windows})
    Trainer(model=model, args=settings(said, TrainingArguments), train_dataset=data, callbacks=[watch]).train()
    took = np.diff(watch.ends)[WARM - 1 :]
    report(said, model, said.batch * long / statistics.median(took))


def report(said: argparse.Namespace, model: torch.nn.Module, rate: float) -> None:
    said.suite = said.what
    emit(
        said,
        f"hf-{said.precision}",
        LIBRARIES,
        tokens_per_s=rate,
        parameters=sum(p.numel() for p in model.parameters()),
    )


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("tokens", "translate"))
    parser.add_argument("file")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--grouped", action="store_true")
    parser.add_argument("--device", default="cpu")
    said = parser.parse_args()
    torch.manual_seed(0)
    {"tokens": tokens, "translate": translate}[said.what](said)
