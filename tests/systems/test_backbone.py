"""Networks of timm and of transformers as systems: their own logits for their own weights, and what is wrong said in one line."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision_shim  # noqa: F401  (timm and transformers import torchvision)
from safetensors.torch import save_file

import shendu
from shendu import config, registry
from shendu import data as data_module
from shendu.errors import UserError
from shendu.systems.vision import backbone
from shendu.systems.vision.backbone import Config

timm = pytest.importorskip("timm")
transformers = pytest.importorskip("transformers")

KINDS = {"resnet": {"embedding_size": 8, "hidden_sizes": [8, 8], "depths": [1, 1]}}


def folder(path: Path, kind: str, **more: Any) -> Path:
    """What transformers' save_pretrained leaves of a configuration."""
    (path / "config.json").write_text(json.dumps({"model_type": kind, **KINDS[kind], **more}))
    return path


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_logits_are_timms_for_its_published_weights(name: str, tmp_path: Path) -> None:
    theirs = timm.create_model(name, num_classes=3, **({"img_size": 32} if name == "test_vit" else {})).eval()
    save_file(dict(theirs.state_dict()), tmp_path / "w.safetensors")
    net = Config(name=f"timm:{name}", classes=3, side=32)
    weights = module_weights(net, tmp_path / "w.safetensors")
    ours = net.build().eval()
    ours.load_state_dict(weights)
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_hugging_faces_for_its_folder(kind: str, tmp_path: Path) -> None:
    how = transformers.AutoConfig.for_model(kind, **KINDS[kind], num_labels=3, num_channels=1, image_size=32)
    theirs = transformers.AutoModelForImageClassification.from_config(how).eval()
    theirs.save_pretrained(tmp_path)
    net = Config(name=f"hf:{tmp_path}", channels=1, classes=3, side=32)
    ours = net.build().eval()
    ours.load_state_dict(module_weights(net, tmp_path / "model.safetensors"))
    x = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(ours(x), theirs(x).logits)


def module_weights(net: Config, file: Path) -> dict[str, torch.Tensor]:
    from shendu import published as weights

    return weights.load_published(backbone, net, file)


def test_a_run_needs_the_folder_no_more(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    made = folder(tmp_path / "there", "resnet", auto_map={"AutoModel": "evil.Model"})
    run = shendu.train(f"hf:{made}", "digits", out=tmp_path / "run", steps=2, quiet=True)
    (made / "config.json").unlink()
    net = config.from_json(Config, json.loads((tmp_path / "run" / "config.json").read_text())["config"])
    assert net.channels == 1
    assert len(run.predict([np.zeros((8, 8, 1), np.uint8)])) == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("timm:resnet81", "timm has no network 'resnet81'; did you mean"),
        ("hf:resent", "no kind of picture network called 'resent'; did you mean 'resnet'?"),
        ("timm:", "write it like name=timm:resnet18"),
        ("keras:resnet", "write it like name=timm:resnet18"),
    ],
)
def test_unknown_networks(name: str, said: str, one_line: Any) -> None:
    with pytest.raises(UserError) as caught:
        Config(name=name).build()
    assert said in one_line(caught.value)


def test_without_a_name(one_line: Any) -> None:
    with pytest.raises(UserError, match="shendu train timm:resnet18 DATA") as caught:
        backbone.recipe(data_module.open("digits"))
    one_line(caught.value)


@pytest.mark.parametrize("name", ["timm:resnet18", "hf:resnet"])
def test_a_missing_library_is_one_line(name: str, monkeypatch: pytest.MonkeyPatch, one_line: Any) -> None:
    real = builtins.__import__

    def without(module: str, *rest: Any, **more: Any) -> Any:
        if module.partition(".")[0] in ("timm", "transformers"):
            raise ModuleNotFoundError(f"No module named '{module}'", name=module)
        return real(module, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"is not installed: pip install 'shendu\[hub\]'") as caught:
        Config(name=name).build()
    one_line(caught.value)


def test_a_torchvision_that_does_not_fit_is_named(monkeypatch: pytest.MonkeyPatch, one_line: Any) -> None:
    real = builtins.__import__

    def unfit(module: str, *rest: Any, **more: Any) -> Any:
        if module == "timm":
            raise RuntimeError("operator torchvision::nms does not exist")
        return real(module, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", unfit)
    with pytest.raises(UserError, match="timm needs torchvision, which does not fit this torch") as caught:
        Config(name="timm:resnet18").build()
    one_line(caught.value)


def test_words() -> None:
    assert registry.spelled("timm:resnet18") == ("backbone", {"name": "timm:resnet18"})
    assert registry.spelled("lenet") == ("lenet", {})
