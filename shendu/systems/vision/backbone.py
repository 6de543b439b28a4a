"""Backbone (2019): any picture network of timm or of Hugging Face's transformers, trained on one's own data.

Nothing is introduced here: the network is another library's, and everything else (data, loop, resume, report) is as for every
system. `shendu train timm:resnet18 DATA` names a network of timm; `hf:resnet` a kind of network of transformers at its usual
sizes, `hf:FOLDER` one as a folder's config.json describes it. It begins with random weights, or with those of a file:
`--weights FILE.safetensors`, under the library's own names. Nothing is fetched, and no code that a folder holds is run:
of its config.json the numbers and words are taken that the network's kind has, and nothing that names a file, code or another network.

R. Wightman: PyTorch Image Models, 2019. T. Wolf et al.: Transformers. EMNLP (demonstrations), 2020.

Deviations: (1) pictures keep their size, but for those below 32 pixels a side, which are enlarged, since these networks halve
them five times; they are normalised by the data's own mean and deviation, whatever a network's published weights were trained
on; (2) AdamW under a one-cycle schedule for all networks, where each was published with a training of its own.

Shape letters: B rows, C channels, H x W pixels, K classes.
"""

from __future__ import annotations

import json
import math
import re
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
from shendu.errors import UserError, near, out_of_memory
from shendu.nn.outline import check_size
from shendu.recipes import Training, check_reads, supervised
from shendu.untrusted import Unreadable, parsed, read

PRESENTED = 270_000
"""Pictures that are shown in a training, whatever the set's size; in 5 to 60 passes."""
USE = "timm:resnet18 DATA"
SPELLED = {"timm:": "name", "hf:": "name"}
"""How a person names such a network."""
LEAST = 32
"""Pixels a side that a network sees at least. Halving a single one is also where oneDNN's gradients in bf16 are wrong."""
LIBRARIES = {"timm": "timm", "hf": "transformers"}
KINDS = (
    "beit", "bit", "convnext", "convnextv2", "cvt", "data2vec-vision", "deit", "dinat", "dinov2", "dinov2_with_registers",
    "donut-swin", "efficientnet", "focalnet", "hgnet_v2", "hiera", "ijepa", "imagegpt", "levit", "mobilenet_v1", "mobilenet_v2",
    "mobilevit", "mobilevitv2", "perceiver", "poolformer", "pp_lcnet", "pvt", "pvt_v2", "regnet", "resnet", "segformer",
    "swiftformer", "swin", "swinv2", "textnet", "vit", "vit_msn",
)  # fmt: skip
"""Networks of transformers that are made of their own settings alone: none loads another library's, a file, or one by name."""
NUMBERS_MOST = 1 << 31
"""Parameters of a network; a folder that describes a larger one is refused before it is built."""


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
    if name.partition(".")[0] not in timm.list_models() or not re.fullmatch(r"[\w-]+(\.[\w-]+)?", name):
        hint = near(name, timm.list_models())
        raise UserError(f"timm has no network '{name[:40]}'{hint if len(hint) < 100 else ''}")
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
    try:
        settings = (
            allowed(parsed(config.described)) if config.described else json.loads(described(config, folders=False))
        )
        how = transformers.AutoConfig.for_model(**settings)
        check_size(lambda: transformers.AutoModelForImageClassification.from_config(how), NUMBERS_MOST)
        made: nn.Module = transformers.AutoModelForImageClassification.from_config(how)
    except Exception as error:
        if isinstance(error, UserError) or out_of_memory(error):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise UserError(f"transformers cannot build {config.name} as a classifier of pictures ({reason})") from None
    return made


def allowed(settings: dict[str, Any]) -> dict[str, Any]:
    """Of a folder's or a run's words those that the network's kind has: numbers, and plain words for its layers.

    What names code, a file, a repository, an implementation of attention or another network is none of them. Raises ValueError
    for a kind that is not allowed here, and for settings of another form.
    """
    from transformers import AutoConfig, PretrainedConfig

    kind = settings.get("model_type")
    if kind not in KINDS:
        raise ValueError(f"the kind {str(kind)[:40]!r} is not allowed here")
    usual = AutoConfig.for_model(kind)
    own = {"num_labels", *usual.to_dict(), *usual.attribute_map} - {*PretrainedConfig().to_dict()}
    taken = {name: value for name, value in settings.items() if name in own}
    if wrong := next((name for name, value in taken.items() if not plain(value)), ""):
        raise ValueError(f"its {wrong} is neither a number nor a plain word")
    return {"model_type": kind, **taken}


def plain(value: Any) -> bool:
    """Whether a setting is a number, a word, or a list of such: no path, no address, no settings of something else."""
    if isinstance(value, list):
        return all(map(plain, value))
    return not isinstance(value, dict) and (
        not isinstance(value, str) or bool(re.fullmatch(r"[A-Za-z0-9_-]{0,40}", value))
    )


def described(config: Config, folders: bool = True) -> str:
    """The JSON of transformers' configuration, for these pictures and classes; raises UserError for an unknown kind.

    `folders`: whether the name may be a folder's, which is so where a person has given it.
    """
    kind = config.name.removeprefix("hf:")
    file = Path(kind).expanduser() / "config.json"
    found: dict[str, Any] = {}
    if folders and file.is_file():
        try:
            found = read(file, dict[str, Any])
            kind = str(found["model_type"])
        except (OSError, Unreadable, LookupError):
            raise UserError(f"{file} is no configuration of transformers: it names no model_type") from None
    library("hf")
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES

    known = {*KINDS} & {*MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES}
    if kind not in known:
        where = f"{file} has" if found else "there is no such folder, and"
        raise UserError(f"{where} no kind of picture network called '{kind[:40]}'{near(kind[:40], known)}")
    ours = {"num_labels": config.classes, "num_channels": config.channels, "image_size": config.side}
    try:
        return json.dumps(allowed({**found, "model_type": kind, **ours}), sort_keys=True)
    except ValueError as error:
        raise UserError(f"{file} cannot be used: {error}") from None


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
