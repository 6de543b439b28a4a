"""Language models side by side, each comparison in one run on this machine.

    python bench/language.py to-loss [--loss 1.92,1.88] [--limit SECONDS]
    python bench/language.py tokens [--steps N] [--dropout 0.2] [--device cuda]
    python bench/language.py translate [--system seq2seq] [--steps N]
    python bench/language.py generate [--length N]
    python bench/language.py recurrent

`to-loss`: seconds of training until each validation loss on tinyshakespeare is reached, by a plain PyTorch loop with the
settings of nanoGPT's configuration for a processor, and by our recipe; validating is not counted, and both are measured by
the same function. `tokens`: training tokens per second of nanoGPT's configuration for a GPU, by the plain loop, by Hugging
Face's Trainer and by our recipe. `translate`: target tokens per second of our Transformer on Multi30k, and of a network of
the same sizes (Marian's form) by Hugging Face's Seq2SeqTrainer as it is, and with rows of like lengths together. `generate`:
tokens per second of the same weights, as `shendu sample` reads them (in half precision) with a cache and without, in
float32, and by Hugging Face. `recurrent`: rnn, lstm and gru by torch.nn's kernels, by their equations compiled, and by their
equations as they are. Data is read from $SHENDU_DATA; Hugging Face's trainers run in .bench/torch, on a GPU in Shendu's
own environment (see environments.py).
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import environments
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shendu import chance, parallel, registry
from shendu import data as data_module
from shendu.core import At, Recipe, Steps
from shendu.loop import Learner, named_groups
from shendu.nn.generate import Afresh, generate
from shendu.nn.halved import halved
from shendu.parallel import device_of
from shendu.predictor import Predictor

CPU = torch.device("cpu")
"""Where all is computed but the tokens of `--device`."""
SMALL = {"layers": 4, "heads": 4, "width": 128, "context": 64}
LARGE = {"layers": 6, "heads": 6, "width": 384, "context": 256}
EVERY = 50
"""Steps between validations."""


# ---- the plain loop --------------------------------------------------------------------------------------------------


class Plain(nn.Module):
    """The usual small GPT in PyTorch: learned positions, LayerNorm without biases, GELU, one table at both ends."""

    def __init__(self, vocabulary: int, context: int, layers: int, heads: int, width: int, dropout: float) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(PlainBlock(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width, bias=False)
        for name, p in self.named_parameters():
            if p.dim() > 1:
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * layers) if name.endswith("back.weight") else 0.02)

    def forward(self, x: Tensor) -> Tensor:
        h = self.drop(self.tokens(x) + self.places.weight[: x.shape[1]])
        for block in self.blocks:
            h = block(h)
        return F.linear(self.norm(h), self.tokens.weight)


class PlainBlock(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norms = nn.ModuleList(nn.LayerNorm(width, bias=False) for _ in range(2))
        self.look = nn.ModuleDict(
            {"up": nn.Linear(width, 3 * width, bias=False), "back": nn.Linear(width, width, bias=False)}
        )
        self.think = nn.ModuleDict(
            {"up": nn.Linear(width, 4 * width, bias=False), "back": nn.Linear(4 * width, width, bias=False)}
        )
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.look["up"](self.norms[0](x)).chunk(3, -1)
        q, k, v = (t.unflatten(2, (self.heads, -1)).transpose(1, 2) for t in parts)
        dropped = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=dropped, is_causal=True)
        x = x + self.drop(self.look["back"](y.transpose(1, 2).flatten(2)))
        return x + self.drop(self.think["back"](F.gelu(self.think["up"](self.norms[1](x)))))


def finished(device: torch.device) -> None:
    """Waits for a GPU, so that a stopwatch sees the work and not the order for it."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def plain_steps(model: nn.Module, tokens: Tensor, batch: int, context: int, steps: int, lr: float) -> Iterator[int]:
    """Windows at random places; AdamW (0.9, 0.99) with decay 0.1 of matrices, clipped at 1, up for 100 steps, then a cosine to
    a tenth. Yields after each step.
    """
    groups = [
        {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.99))
    generator, device = chance.generator(1337), device_of(model)
    model.train()
    for step in range(steps):
        done = max(0, step - 100) / max(1, steps - 100)
        rate = lr * min((step + 1) / 101, 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * done)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        at = torch.randint(len(tokens) - context, (batch,), generator=generator)
        windows = torch.stack([tokens[i : i + context + 1] for i in at.tolist()]).to(device)
        logits = model(windows[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        finished(device)
        yield batch * context


# ---- ours ------------------------------------------------------------------------------------------------------------


def our_steps(recipe: Recipe, model: nn.Module, precision: str = "fp32", compiled: bool = False) -> Iterator[int]:
    """The loop's steps, one by one, without checkpoints and log; yields what the loss was averaged over."""
    stage, device = recipe.stages[0], device_of(model)
    objective, source = stage.objective(model), stage.source(model)
    learner = Learner(model, objective)
    if compiled:
        learner.compile()
    groups = named_groups(learner, stage.trains)
    optimizer = stage.optimizer(groups)
    step = torch.tensor(0, device=device)
    model.train()
    for number in range(stage.steps):
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * stage.schedule(number, stage.steps)
        batch = source.batch(At(number * stage.batch_size, stage.batch_size))
        chance.reseed(recipe.seed, 0, number, 0, 0)
        optimizer.zero_grad(set_to_none=True)
        units = objective.units(batch)["loss"]
        with parallel.autocast(device, precision):
            loss = learner(batch, step.fill_(number)).sums["loss"] / units
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), stage.clip, foreach=True)
        optimizer.step()
        finished(device)
        yield int(units)


# ---- the comparisons -------------------------------------------------------------------------------------------


def to_loss(wanted: list[float], limit: float, most: int) -> None:
    data, gpt = data_module.open("tinyshakespeare").split_off(), registry.load("gpt")
    recipe = gpt.recipe(data, **({"steps": most} if most else {}))
    chance.reseed(0, 1)
    language, vocabulary = recipe.task, recipe.model.vocabulary
    tokens = language.tokens(data.splits["train"].column(data.input)).long()
    plain = Plain(vocabulary, 64, 4, 4, 128, 0.0)
    ours = recipe.model.build()
    precision = parallel.choose_precision("auto", CPU, ours)

    def validation(model: nn.Module) -> float:
        source = recipe.splits["validation"]
        return Predictor(language, model, "cpu", "fp32").evaluate(source, intervals=False).figures["loss"]

    for name, model, steps in (
        ("plain PyTorch loop", plain, plain_steps(plain, tokens, 12, 64, most or 2000, 1e-3)),
        (f"shendu train gpt ({recipe.stages[0].steps:,} steps of {recipe.stages[0].batch_size}, {precision})", ours,
         our_steps(recipe, ours, precision)),
    ):  # fmt: skip
        seconds, left = 0.0, sorted(wanted, reverse=True)
        begun = time.perf_counter()
        for step, _ in enumerate(steps, 1):
            if step % EVERY and step != most:
                continue
            seconds += time.perf_counter() - begun
            loss = validation(model)
            print(f"  {name:48} step {step:5,}  {seconds:7.1f} s  validation loss {loss:.4f}", flush=True)
            while left and loss <= left[0]:
                print(f"{name:50} reached {left.pop(0)} in {seconds:.1f} s", flush=True)
            if not left or seconds > limit:
                break
            model.train()
            begun = time.perf_counter()
        for loss in left:
            print(f"{name:50} did not reach {loss} in {seconds:.1f} s", flush=True)


def tokens_per_second(steps: int, dropout: float, device: torch.device) -> None:
    data, gpt = data_module.open("tinyshakespeare").split_off(), registry.load("gpt")
    recipe = gpt.recipe(data, **LARGE, dropout=dropout, batch_size=64, steps=steps)
    text = recipe.task.tokens(data.splits["train"].column(data.input)).long()
    plain = Plain(recipe.model.vocabulary, 256, 6, 6, 384, dropout).to(device)
    adamw = gpt.recipe(data, **LARGE, dropout=dropout, batch_size=64, steps=steps, optimizer="adamw")
    precision = parallel.choose_precision("auto", device, recipe.model.build())

    def ours(how: Recipe, *more: Any) -> Callable[[], float]:
        return lambda: rate(our_steps(how, how.model.build().to(device), *more))

    sizes = {**LARGE, "vocabulary": recipe.model.vocabulary, "dropout": dropout}
    ways: dict[str, Callable[[], float]] = {
        "plain PyTorch loop, fp32": lambda: rate(plain_steps(plain, text, 64, 256, steps, 1e-3)),
        "Hugging Face Trainer, bf16": lambda: peer(
            "tokens", steps, 64, sizes, "--device", device.type, text=text.numpy()
        ),
        f"shendu, AdamW, {precision}": ours(adamw, precision),
        f"shendu, its recipe (Muon), {precision}": ours(recipe, precision),
        "shendu, its recipe (Muon), fp32": ours(recipe),
    }
    if device.type == "cuda":
        ways[f"shendu, its recipe, compiled, {precision}"] = ours(recipe, precision, True)
    compared(ways, "tokens/s", f"shendu, its recipe (Muon), {precision}")


def translate(system: str, steps: int) -> None:
    data, module = data_module.open("multi30k-de-en"), registry.load(system)
    recipe = module.recipe(data, steps=steps + WARM)
    size, task = recipe.stages[0].batch_size, recipe.task
    coded = task.coded(data.splits["train"], data.input, data.target).columns
    transformer = recipe.model if system == "transformer" else registry.load("transformer").Config(codes=task.codes)
    sizes = {name: getattr(transformer, name) for name in ("codes", "width", "layers", "heads", "inner", "dropout")}
    precision = parallel.choose_precision("auto", CPU, recipe.model.build())

    def theirs(*options: str) -> Callable[[], float]:
        return lambda: peer("translate", steps, size, sizes, *options, x=coded["x"], y=coded["y"])

    compared({
        "Seq2SeqTrainer, fp32": theirs("--precision", "fp32"),
        "Seq2SeqTrainer, bf16": theirs(),
        "Seq2SeqTrainer, bf16, grouped by length": theirs("--grouped"),
        f"shendu train {system}, {precision}": lambda: rate(our_steps(recipe, recipe.model.build(), precision), whole=True),
        f"shendu train {system}, fp32": lambda: rate(our_steps(recipe, recipe.model.build()), whole=True),
    }, "target tokens/s", f"shendu train {system}, {precision}")  # fmt: skip


WARM = 2
"""Steps before the stopwatch starts."""


def rate(steps: Iterator[int], whole: bool = False) -> float:
    """Tokens per second after the first steps: the median step's, or of all together where steps differ in length."""
    counts, times, begun = [], [], time.perf_counter()
    for count in steps:
        counts.append(count)
        times.append(time.perf_counter() - begun)
        begun = time.perf_counter()
    warm = min(WARM, len(times) - 1)
    if whole:
        return sum(counts[warm:]) / sum(times[warm:])
    return counts[-1] / statistics.median(times[warm:])


def compared(ways: dict[str, Callable[[], float]], unit: str, ours: str) -> None:
    """Every way's figure, and that of `ours`, the recipe as it trains here, over each."""
    found = {}
    for name, measured in ways.items():
        found[name] = measured()
        print(f"{name:42} {found[name]:9,.0f} {unit}", flush=True)
    for name, figure in found.items():
        if not name.startswith("shendu"):
            print(f"{ours} over {name}: {found[ours] / figure:.2f}", flush=True)


def peer(what: str, steps: int, batch: int, sizes: dict[str, object], *options: str, **arrays: np.ndarray) -> float:
    """Tokens per second of bench/peers/hf_language.py."""
    environment = environments.of_peers("cuda" if "cuda" in options else "cpu")
    environments.ready(environment)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "codes.npz"
        np.savez(file, sizes=json.dumps(sizes), **arrays)
        script = Path(__file__).parent / "peers" / "hf_language.py"
        command = [environments.python(environment), script, what, file, "--steps", steps, "--batch", batch, *options]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, cwd=folder)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        sys.exit(f"the peer failed: {(done.stderr.strip().splitlines() or ['no output'])[-1]}")
    return float(json.loads(lines[0].removeprefix("RESULT "))["tokens_per_s"])


def recurrent(runs: int) -> None:
    """Forward and backward of a layer of 128 units over 64 rows of 64 places."""
    x = torch.randn(64, 64, 128)
    for name, cell in (("rnn", "RNN"), ("lstm", "LSTM"), ("gru", "GRU")):
        layer = getattr(registry.load(name), cell)(128, 128)
        compiled = torch.compile(layer.unrolled)
        found = {}
        for way, call in (("kernel", layer), ("compiled", compiled), ("equations", layer.unrolled)):
            times = []
            for _ in range(runs + WARM):
                begun = time.perf_counter()
                call(x)[0].sum().backward()
                times.append(time.perf_counter() - begun)
            found[way] = statistics.median(times[WARM:])
            print(f"{name:4} {way:20} {1000 * found[way]:8.1f} ms", flush=True)
        print(f"{name:4} compiled over torch.nn's: {found['compiled'] / found['kernel']:.2f}", flush=True)


def generated(length: int, runs: int) -> None:
    gpt2 = registry.load("gpt2")
    net = gpt2.Config(vocabulary=1000, context=max(512, length + 8), layers=6, heads=6, width=384)
    model = net.build().eval()
    theirs = hugging_face(net, model)
    for batch in (1, 16):
        side_by_side(model, theirs, torch.randint(1000, (batch, 4), generator=chance.generator(batch)), length, runs)


def side_by_side(model: nn.Module, theirs: nn.Module, prompt: Tensor, length: int, runs: int) -> None:
    batch, context = len(prompt), model.context
    ways: dict[str, Callable[[], Tensor]] = {
        "with a cache": lambda: drawn(halved(model), prompt, length),
        "without": lambda: drawn(Afresh(halved(model), context), prompt, length),
        "with a cache, float32": lambda: drawn(model, prompt, length),
        "Hugging Face": lambda: theirs.generate(
            prompt, max_new_tokens=length, do_sample=False, pad_token_id=0, attention_mask=torch.ones_like(prompt)
        )[:, 4:],
    }
    texts = {}
    for name, write in ways.items():
        times = []
        for _ in range(runs):
            begun = time.perf_counter()
            with torch.no_grad():
                texts[name] = write()
            times.append(time.perf_counter() - begun)
        rate = batch * length / statistics.median(times)
        print(f"batch {batch:2}, {length} tokens, {name:22} {rate:8,.0f} tokens/s", flush=True)
    same = [name for name in texts if torch.equal(texts[name], texts["with a cache"])]
    print(f"batch {batch:2}, the same text: {', '.join(same)}", flush=True)


def drawn(model: Steps, prompt: Tensor, length: int) -> Tensor:
    return torch.stack(list(generate(model, prompt, length, temperature=0)), 1)


def hugging_face(net: object, model: nn.Module) -> nn.Module:
    """GPT2LMHeadModel with the same weights."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    import torchvision_shim  # noqa: F401
    from transformers import GPT2Config, GPT2LMHeadModel

    gpt2 = registry.load("gpt2")
    sizes = {called: getattr(net, name) for name, called in gpt2.CONFIG.items()}
    theirs = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=None, eos_token_id=None)).eval()
    ours = model.state_dict()
    with torch.no_grad():
        for name, p in theirs.named_parameters():
            mine = ours[next(iter(gpt2.published({name: p})))]
            p.copy_(mine.T if name.rpartition(".")[0].rpartition(".")[2].startswith("c_") and p.dim() == 2 else mine)
    return theirs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("to-loss", "tokens", "translate", "generate", "recurrent"))
    parser.add_argument("--loss", default="1.92,1.88", help="to-loss: one or several")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds of training at most, each")
    parser.add_argument(
        "--steps", type=int, default=0, help="tokens, translate: steps (5, 20); to-loss: 0 as the recipes have them"
    )
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--system", choices=("transformer", "seq2seq"), default="transformer", help="translate: ours")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="tokens: where all are trained")
    parser.add_argument("--runs", type=int, default=3)
    said = parser.parse_args()
    if said.what == "to-loss":
        to_loss([float(loss) for loss in said.loss.split(",")], said.limit, said.steps)
    elif said.what == "tokens":
        tokens_per_second(said.steps or 5, said.dropout, torch.device(said.device))
    elif said.what == "translate":
        translate(said.system, said.steps or 20)
    elif said.what == "recurrent":
        recurrent(said.runs)
    else:
        generated(said.length, said.runs)


if __name__ == "__main__":
    main()
