"""Backbone (2019): any picture network of timm or of Hugging Face's transformers, trained on one's own data.

Nothing is introduced here: the network is another library's, and everything else (data, loop, resume, report) is as for every
system. `shendu train timm:resnet18 DATA` names a network of timm; `hf:resnet` a kind of network of transformers at its usual
sizes, `hf:FOLDER` one as a folder's config.json describes it. It begins with random weights, or with those of a file:
`--weights FILE.safetensors`, under the library's own names. Nothing is fetched, and no code that a folder holds is run.

R. Wightman: PyTorch Image Models, 2019. T. Wolf et al.: Transformers. EMNLP (demonstrations), 2020.

Deviations: (1) pictures keep their size, but for those below 32 pixels a side, which are enlarged, since these networks halve
them five times; they are normalised by the data's own mean and deviation, whatever a network's published weights were trained
on; (2) AdamW under a one-cycle schedule for all networks, where each was published with a training of its own.

Shape letters: B rows, C channels, H x W pixels, K classes.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shendu.config import settle
from shendu.core import Recipe
from shendu.data import augment
from shendu.data.dataset import Dataset
from shendu.data.fields.image import Image
from shendu.errors import UserError, near
from shendu.recipes import Training, check_reads, supervised

PRESENTED = 270_000
"""Pictures that are shown in a training, whatever the set's size; in 5 to 60 passes."""
USE = "timm:resnet18 DATA"
SPELLED = {"timm:": "name", "hf:": "name"}
"""How a person names such a network."""
LEAST = 32
"""Pixels a side that a network sees at least. Halving a single one is also where oneDNN's gradients in bf16 are wrong."""
LIBRARIES = {"timm": "timm", "hf": "transformers"}


@dataclass(frozen=True, kw_only=True)
class Config:
    """`name` is timm:NAME, hf:KIND or hf:FOLDER; `side` is that of the pictures, which some networks are built for.

    `described` is what transformers calls the network's configuration, as JSON: with it a run needs the folder no more.
    """

    name: str
    channels: int = 3
    classes: int = 10
    side: int = 224
    described: str = ""

    def __post_init__(self) -> None:
        if self.name.partition(":")[0] not in LIBRARIES or not self.name.partition(":")[2]:
            raise UserError(f"name={self.name} names no network; write it like name=timm:resnet18 or name=hf:resnet")

    def build(self) -> Backbone:
        return Backbone(self)


class Backbone(nn.Module):
    """Another library's network, from pictures to logits."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.inner = timms(config) if config.name.startswith("timm:") else hugging_faces(config)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] -> logits [B, K]."""
        if min(x.shape[2:]) < LEAST:
            x = F.interpolate(x, scale_factor=math.ceil(LEAST / min(x.shape[2:])), mode="bilinear")
        found: Any = self.inner(x)
        return found if isinstance(found, Tensor) else found.logits


def library(name: str) -> Any:
    """timm or transformers; raises UserError where it is not installed, or does not work here."""
    try:
        if name == "timm":
            import timm

            return timm
        import transformers
    except (ImportError, RuntimeError) as error:
        package = LIBRARIES[name]
        if "torchvision" in str(error):
            raise UserError(
                f"{package} needs torchvision, which does not fit this torch ({torch.__version__}): "
                "install the torchvision that was built for it"
            ) from None
        if not isinstance(error, ModuleNotFoundError) or error.name != package:
            raise UserError(f"{package} does not work here ({str(error).splitlines()[0]})") from None
        raise UserError(
            f"{name}: networks are those of {package}, which is not installed: pip install 'shendu[hub]'"
        ) from None
    return transformers


def timms(config: Config) -> nn.Module:
    """A network of timm, built for the pictures' size where it has to be."""
    timm, name = library("timm"), config.name.removeprefix("timm:")
    if name.partition(".")[0] not in timm.list_models():
        raise UserError(f"timm has no network '{name}'{near(name, timm.list_models()) if len(name) > 2 else ''}")
    size: dict[str, Any] = {}
    kept = timm.models.get_pretrained_cfg(name, allow_unregistered=True)
    if kept is not None and kept.fixed_input_size:
        size = {"img_size": config.side}
    try:
        made: nn.Module = timm.create_model(
            name, pretrained=False, num_classes=config.classes, in_chans=config.channels, **size
        )
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"timm cannot build {name} for {config.channels} channels of {config.side} pixels ({reason})"
        ) from None
    return made


def hugging_faces(config: Config) -> nn.Module:
    """A network of transformers, as its configuration says."""
    transformers = library("hf")
    settings = json.loads(config.described or described(config))
    kind = settings.pop("model_type")
    try:
        how = transformers.AutoConfig.for_model(kind, **settings)
        made: nn.Module = transformers.AutoModelForImageClassification.from_config(how)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise UserError(f"transformers cannot build {config.name} as a classifier of pictures ({reason})") from None
    return made


def described(config: Config) -> str:
    """The JSON of transformers' configuration, for these pictures and classes; raises UserError for an unknown kind."""
    name = config.name.removeprefix("hf:")
    file = Path(name).expanduser() / "config.json"
    ours = {"num_labels": config.classes, "num_channels": config.channels, "image_size": config.side}
    if file.is_file():
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            kind = found["model_type"]
        except (OSError, ValueError, LookupError, TypeError):
            raise UserError(f"{file} is no configuration of transformers: it names no model_type") from None
        foreign = ("id2label", "label2id", "num_labels", "auto_map", "architectures", "torch_dtype", "dtype")
        ours = {**{key: value for key, value in found.items() if key not in foreign and key != "model_type"}, **ours}
    else:
        kind = name
    library("hf")
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as known

    if kind not in known:
        where = f"{file} has" if file.is_file() else "there is no such folder, and"
        raise UserError(f"{where} no kind of picture network called '{kind}'{near(kind, known)}")
    return json.dumps({"model_type": kind, **ours}, sort_keys=True)


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """Raises UserError for data without pictures or classes, and for a network that is not there."""
    check_reads("backbone", data, "image")
    if "name" not in choices:
        raise UserError("backbone needs a network's name: shendu train timm:resnet18 DATA, or hf:resnet")
    picture, rows = data.fields[data.input], len(data.splits["train"])
    assert isinstance(picture, Image)
    side = min(picture.height, picture.width)
    net = Config(
        name=choices["name"],
        channels=picture.channels,
        classes=len(data.classes),
        side=side * math.ceil(LEAST / max(1, side)),
    )
    if net.name.startswith("hf:"):
        net = replace(net, described=described(net))
    how = Training(
        epochs=min(60, max(5, math.ceil(PRESENTED / rows))), batch_size=64 if rows > 500 else 32, lr=1e-3, schedule="one-cycle",
        weight_decay=0.05, clip=5.0, label_smoothing=0.1, augment=augment.usual(data), validations=6,
    )  # fmt: skip
    net, how = settle(choices, net, how, given=("channels", "classes", "side", "described"))
    return supervised(data, net, how, coupled=batch_normed(net))


def batch_normed(net: Config) -> bool:
    """Whether the rows of a batch affect each other; the network is built once to see."""
    with torch.random.fork_rng(devices=[]):
        return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in net.build().modules())


def published(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by the library's names -> by ours. What a newer transformers calls otherwise than its files (ViT's) is not renamed."""
    return {f"inner.{name}": t for name, t in weights.items()}


def tiny() -> tuple[Any, dict[str, Any]]:
    return "digits", {"steps": 12, "batch_size": 32, "name": "timm:test_resnet"}


REFERENCES = (
    {"data": "digits", "metric": "accuracy", "published": None, "target": 0.97, "source": "", "choices": {"name": "timm:test_resnet"}},
)  # fmt: skip
