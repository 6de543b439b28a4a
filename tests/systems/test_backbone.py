"""Networks of timm and of transformers as systems: their own logits for their own weights, and what is wrong said in one line."""

from __future__ import annotations

import builtins
import json
from dataclasses import replace
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
    net = replace(net, described=backbone.described(net))
    ours = net.build().eval()
    ours.load_state_dict(module_weights(net, tmp_path / "model.safetensors"))
    x = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(ours(x), theirs(x).logits)


def module_weights(net: Config, file: Path) -> dict[str, torch.Tensor]:
    from shendu import published as weights

    return weights.load_published(registry.load("backbone"), net, file)


def test_a_run_needs_the_folder_no_more(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    made = folder(tmp_path / "there", "resnet", auto_map={"AutoModel": "evil.Model"})
    run = shendu.train(f"hf:{made}", "digits", out=tmp_path / "run", steps=2, quiet=True)
    (made / "config.json").unlink()
    net = config.from_json(Config, json.loads((tmp_path / "run" / "config.json").read_text())["config"])
    assert net.channels == 1
    assert len(run.predict([np.zeros((8, 8, 1), np.uint8)])) == 1


class Unpickled:
    """What a pickle of it does when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


def reaching(path: Path) -> dict[str, dict[str, Any]]:
    """What a config.json may hold to reach a file, a network's name, code, or a repository."""
    args = {"checkpoint_path": str(path / "evil.pth")}
    wrapper = {"model_type": "timm_wrapper", "architecture": "test_resnet", "model_args": args}
    return {
        "timm_wrapper": wrapper,
        "timm_wrapper inside": {"backbone_config": wrapper, "use_timm_backbone": True},
        "pretrained backbone": {
            "backbone": "timm/resnet18",
            "use_pretrained_backbone": True,
            "use_timm_backbone": True,
        },
        "kernel": {"attn_implementation": "someone/kernel", "_attn_implementation": "someone/kernel"},
        "code": {"auto_map": {"AutoModelForImageClassification": "evil.Model"}, "trust_remote_code": True},
        "name": {"_name_or_path": "someone/network", "name_or_path": str(path)},
        "quantization": {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}},
        "arguments": {"model_args": args, "checkpoint_path": str(path / "evil.pth"), "pretrained": True},
    }


@pytest.mark.parametrize("name", reaching(Path()))
@pytest.mark.parametrize("of_run", [False, True])
def test_a_folder_reaches_no_file_name_or_code(
    name: str, of_run: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_line: Any
) -> None:
    torch.save({"state_dict": Unpickled(tmp_path / "done")}, tmp_path / "evil.pth")
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'done')!r}, 'w')")
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("something is fetched"))
    words = {"model_type": "resnet", **KINDS["resnet"], **reaching(tmp_path)[name]}
    (tmp_path / "config.json").write_text(json.dumps(words))
    net = Config(name=f"hf:{tmp_path}", channels=1, classes=3, side=32)

    def built() -> torch.Tensor:
        nonlocal net
        net = replace(net, described=json.dumps({**words, "num_channels": 1}) if of_run else backbone.described(net))
        return net.build()(torch.zeros(1, 1, 32, 32))

    if name == "timm_wrapper":
        with pytest.raises(UserError, match="timm_wrapper") as caught:
            built()
        one_line(caught.value)
    else:
        assert built().shape[0] == 1
    assert not (tmp_path / "done").exists()
    assert of_run or not {*reaching(tmp_path)[name]} - {"model_type"} & {*json.loads(net.described or "{}")}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"layer_type": "../bottleneck"}, "its layer_type is neither a number nor a plain word"),
        ({"hidden_act": "https://evil"}, "its hidden_act is neither"),
        ({"hidden_sizes": {"a": 1}}, "its hidden_sizes is neither"),
        ({"embedding_size": 10**9, "hidden_sizes": [10**9, 10**9]}, "transformers cannot build"),
        ({"depths": [10**8, 1]}, "transformers cannot build"),
        ({"depths": "x"}, "transformers cannot build"),
        ({"hidden_act": "evil"}, "transformers cannot build"),
        ({"model_type": "clip"}, "no kind of picture network called 'clip'"),
        ({"model_type": ["resnet"]}, "no kind of picture network called"),
    ],
)
def test_wrong_folders_are_one_line(
    more: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_line: Any
) -> None:
    monkeypatch.setattr("shendu.nn.outline.PIECES_MOST", 1000)
    folder(tmp_path, "resnet")
    words = {"model_type": "resnet", **KINDS["resnet"], **more}
    (tmp_path / "config.json").write_text(json.dumps(words))
    net = Config(name=f"hf:{tmp_path}", channels=1, classes=3, side=32)
    with pytest.raises(UserError) as caught:
        replace(net, described=backbone.described(net)).build()
    assert said in one_line(caught.value)


def test_a_run_s_name_reads_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no kind of picture network called"):
        Config(name=f"hf:{folder(tmp_path, 'resnet')}").build()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("timm:hf_hub:someone/network", "timm has no network"),
        ("timm:local-dir:/tmp/x", "timm has no network"),
        ("timm:resnet18.a/../b", "timm has no network"),
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
