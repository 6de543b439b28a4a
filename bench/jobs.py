"""What is measured: every job is one process, and prints one line of JSON."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

GROUPS = ("start", "loop", "lenet", "resnet", "mnist99")

SIZES = {  # suite -> (rows per epoch, epochs; the first one is warm-up); 0: all rows, the example's own epochs
    "smoke": {"lenet": (256, 2), "resnet": (16, 2), "mnist99": (512, 1), "loop": (100, 1)},
    "reduced": {"lenet": (20_000, 2), "resnet": (384, 2), "mnist99": (0, 0), "loop": (2_000, 5)},
    "full": {"lenet": (60_000, 3), "resnet": (4_000, 2), "mnist99": (0, 0), "loop": (10_000, 10)},
}


@dataclass(frozen=True)
class Job:
    """`script` is below bench/ (empty for a bare command); `note` says in the table how the peer is fed or what it does."""

    group: str
    name: str
    label: str
    environment: str
    script: str = ""
    variant: str = ""
    command: tuple[str, ...] = ()
    note: str = ""
    extra: bool = False
    """Only in a --full run."""
    settings: dict[str, str] = field(default_factory=dict)


PER_SAMPLE, ARRAYS, BATCHES = "per-sample PIL transforms, DataLoader", "arrays", "whole batches from one uint8 tensor"


def speed(group: str) -> list[Job]:
    """The same work in Shendu and every peer."""
    keras_feed = ARRAYS if group == "lenet" else "arrays; crop and flip as layers of the model, one crop per batch"
    compiled = [
        Job(group, "shendu-compiled", "Shendu, compiled", "shendu", "shendu_side.py", settings={"BENCH_COMPILE": "on"},
            note="the same with `compile=on`; the first epoch compiles")
    ] if group == "resnet" else []  # fmt: skip
    lightning = Job(group, "lightning", "Lightning", "torch", "peers/lightning_peer.py", note=PER_SAMPLE)
    keras = Job(group, "keras-torch", "Keras 3 on PyTorch", "torch", "peers/keras_peer.py", "torch", note=keras_feed)
    trainer = Job(group, "hf-trainer", "Hugging Face Trainer", "torch", "peers/hf_peer.py", note=PER_SAMPLE)
    return [
        Job(group, "shendu", "**Shendu**", "shendu", "shendu_side.py", note="`shendu.train`, all that it does"),
        *compiled,
        Job(group, "pytorch-tutorial", "PyTorch, the tutorials' loop", "torch", "peers/pytorch.py", "tutorial", note=PER_SAMPLE),
        lightning,
        keras,
        Job(group, "keras-jax", "Keras 3 on JAX", "torch", "peers/keras_peer.py", "jax", note=keras_feed),
        Job(group, "keras-tensorflow", "Keras 3 on TensorFlow", "tf", "peers/keras_peer.py", "tensorflow", note=keras_feed),
        Job(group, "fastai", "fastai", "torch", "peers/fastai_peer.py", note=PER_SAMPLE),
        Job(group, "skorch", "skorch", "torch", "peers/skorch_peer.py", note=ARRAYS if group == "lenet" else PER_SAMPLE),
        trainer,
        *map(asked, (lightning, keras, trainer)),
        Job(group, "pytorch-tuned", "PyTorch, a tuned loop by hand", "torch", "peers/pytorch.py", "tuned", note=BATCHES),
    ]  # fmt: skip


def asked(job: Job) -> Job:
    """A peer that has an option for bfloat16, with it."""
    settings = {**job.settings, "BENCH_PRECISION": "bf16"}
    return replace(job, name=f"{job.name}-bf16", label=f"{job.label}, asked for bfloat16", settings=settings)


def examples() -> list[Job]:
    """Each peer's own published MNIST example, on the same IDX files; bars, loggers and checkpoints are off, in its favour."""
    keras = "keras.io, Simple MNIST convnet: 15 epochs, Adam, batch 128"
    return [
        Job("mnist99", "shendu", "**Shendu**", "shendu", "shendu_side.py"),
        Job("mnist99", "pytorch-example", "PyTorch", "torch", "peers/pytorch.py",
            note="pytorch/examples, mnist: 14 epochs, Adadelta, batch 64"),
        Job("mnist99", "keras-tensorflow-example", "Keras 3 on TensorFlow", "tf", "peers/keras_peer.py", "tensorflow", note=keras),
        Job("mnist99", "keras-jax-example", "Keras 3 on JAX", "torch", "peers/keras_peer.py", "jax", note=keras, extra=True),
        Job("mnist99", "keras-torch-example", "Keras 3 on PyTorch", "torch", "peers/keras_peer.py", "torch", note=keras, extra=True),
        Job("mnist99", "fastai-example", "fastai", "torch", "peers/fastai_peer.py",
            note="fastai docs, From plain PyTorch: 1 epoch, one-cycle, batch 256"),
        Job("mnist99", "lightning-example", "Lightning", "torch", "peers/lightning_peer.py",
            note="Lightning tutorials, MNIST hello-world: 3 epochs, Adam, batch 64, a perceptron"),
        Job("mnist99", "skorch-example", "skorch", "torch", "peers/skorch_peer.py",
            note="skorch notebooks, MNIST (the convolutional network): 10 epochs, Adam, batch 128"),
    ]  # fmt: skip


def starts() -> list[Job]:
    """Seconds of a fresh process that only imports, or only says what it can do."""

    def imports(name: str, label: str, environment: str, code: str, **settings: str) -> Job:
        return Job("start", name, label, environment, command=("python", "-c", code), settings=settings)

    shim = "import sys; sys.path.insert(0, 'PEERS'); import torchvision_names; "
    return [
        Job("start", "shendu-help", "**`shendu --help`**", "shendu", command=("shendu", "--help")),
        imports("import-shendu", "**`import shendu`**", "shendu", "import shendu"),
        imports("python", "an empty Python program", "shendu", "pass"),
        imports("import-torch", "`import torch`", "torch", "import torch"),
        imports("import-lightning", "`import lightning`", "torch", shim + "import lightning"),
        imports("import-keras-torch", "`import keras`, on PyTorch", "torch", "import keras", KERAS_BACKEND="torch"),
        imports("import-keras-jax", "`import keras`, on JAX", "torch", "import keras", KERAS_BACKEND="jax"),
        imports("import-keras-tf", "`import keras`, on TensorFlow", "tf", "import keras", KERAS_BACKEND="tensorflow"),
        imports(
            "import-fastai", "`from fastai.vision.all import *`", "torch", shim + "from fastai.vision.all import *"
        ),
        imports("import-skorch", "`import skorch`", "torch", "import skorch"),
        imports("import-hf", "`from transformers import Trainer`", "torch", shim + "from transformers import Trainer"),
    ]


def jobs(groups: tuple[str, ...], full: bool) -> list[Job]:
    """All jobs of some groups, in their order."""
    loop = [
        Job("loop", "loop-mlp", "MLP 784-256-128-10, batch 128", "shendu", "overhead.py", "mlp"),
        Job("loop", "loop-resnet", "ResNet-18, 3x32x32, batch 128", "shendu", "overhead.py", "resnet"),
    ]
    every = [*starts(), *loop, *speed("lenet"), *speed("resnet"), *examples()]
    return [job for job in every if job.group in groups and (full or not job.extra)]
