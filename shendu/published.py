"""weights: published weights as the beginning of a run; read whole, checked whole, and only then used.

A file holds a system's weights under its own names (a run's model.safetensors), or under those that a library gave them;
the system's `published(weights)` then renames what it knows and passes on what it does not. Where a library's weights are of no
use here, the system's `unusable(weights)` says why.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from shendu import config, kept, registry, untrusted
from shendu.core import Config
from shendu.errors import UserError
from shendu.nn.outline import outline
from shendu.run import sha256
from shendu.saved import unaliased
from shendu.tasks import Task

MOST_BYTES = 64 << 30
"""No file of weights is larger."""
SHOWN_WIDTH = 140
"""Characters that the tensors of a kind may take in an error; longer lists are folded."""
LIKELY, SURE = 0.5, 0.8
"""The share of its tensors that a file must have in common with a network to be called that network's, and from which it is
clearly that of the one it is for."""
FROM_DATA = ("channels", "classes", "codes", "outputs", "reads", "vocabulary")
"""Settings that data decide, whatever a file holds."""
WRAPPERS = ("module.", "_orig_mod.")
"""What data parallelism and compilation put before every name."""
TORCH = (".pth", ".pt", ".bin", ".ckpt", ".tar")


@dataclass(frozen=True, kw_only=True)
class Match:
    """Weights held against a network: those that fit, by its names, and everything that does not."""

    weights: dict[str, Tensor]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    misshapen: tuple[str, ...]
    note: str = ""
    """Why the head is left at its random start."""

    @property
    def wrong(self) -> int:
        return len(self.missing) + len(self.extra) + len(self.misshapen)

    @property
    def share(self) -> float:
        fitting = len(self.weights)
        return fitting / max(1, fitting + self.wrong)

    def words(self) -> str:
        kinds = (("missing", self.missing), ("extra", self.extra), ("misshapen", self.misshapen))
        return ", ".join(f"{len(names):,} {kind} ({listed(names)})" for kind, names in kinds if names)


def load_published(
    module: ModuleType, net: Config, path: str | Path, say: Callable[[str], None] = lambda text: None
) -> dict[str, Tensor]:
    """The weights of a .safetensors file (or of a run folder) under the names of a system's network.

    Where only the number of classes differs, the head is left out and `say` is told; counters of BatchNorm may lack. Raises
    UserError that names all missing, extra and misshapen tensors, and the network that the file looks like.
    """
    file = file_of(path)
    if kept_with(file, "config.json").keys() & {"changes", "packing"}:
        raise UserError(
            f"{file} is of a compressed run, whose network is another; give the weights of the run that it was made of"
        )
    found = usable(module, file)
    match = matched(module, net, found)
    if match.wrong:
        raise UserError(f"{file} does not fit {named(module)}: {match.words()}{likely(module, net, found)}")
    for name, t in match.weights.items():
        if t.is_floating_point() and not t.isfinite().all():
            raise UserError(f"{file} holds NaN or infinity in {name}; take a sound copy of the file")
    if match.note:
        say(match.note)
    return match.weights


def settings(module: ModuleType, net: Config, path: str | Path) -> dict[str, Any]:
    """What must be set on a network for a file to fit it, as JSON; empty where it fits, or fits none of the paper's sizes."""
    found = usable(module, file_of(path))
    if not matched(module, net, found).wrong:
        return {}
    if said := dict(module.settings_of(file_of(path))):
        return said
    known = config.hints(type(net))
    for size in sizes(module):
        needed = {name: getattr(size, name) for name in known if name not in FROM_DATA}
        needed = {name: value for name, value in needed.items() if value != getattr(net, name)}
        if not fits(module, net, needed, found):
            continue
        for name in list(needed):
            rest = {key: value for key, value in needed.items() if key != name}
            needed = rest if fits(module, net, rest, found) else needed
        return {name: config.to_json(value) for name, value in needed.items()}
    return {}


def check_vocabulary(task: Task, path: str | Path, data: str) -> None:
    """Raises UserError where a run's weights (its task.json lies beside them) are of another vocabulary than `data` has.

    Names and shapes may agree all the same: each vector would then stand for another word than the one it was learned for.
    """
    file = file_of(path)
    theirs, ours = vocabulary(kept_with(file, "task.json")), vocabulary(task.to_json())
    if theirs and ours and theirs != ours:
        raise UserError(
            f"{file} was trained with another vocabulary than that of {data}, so its vectors would stand for other words; "
            "leave --weights out, or give the texts that it was trained on"
        )


def vocabulary(values: Any) -> Any:
    """What codes stand for, as task.json has it: a tokenizer, or the names in each input; None where there are none."""
    try:
        named = {role: field["names"] for role, field in values["inputs"].items() if "names" in field}
        return values["settings"].get("tokenizer") or named or None
    except (AttributeError, LookupError, TypeError):
        return None


def about(path: str | Path) -> dict[str, str]:
    """What recipe.json keeps of a file of weights: its path and the hash of its bytes."""
    file = file_of(path)
    return {"path": str(file.resolve()), "sha256": sha256(file)}


def again(module: ModuleType, net: Config, then: Mapping[str, str]) -> dict[str, Tensor]:
    """The weights that a run begins with, from what `about` kept; raises UserError where the file is another one now."""
    file = Path(then["path"])
    if not file.is_file() or sha256(file) != then["sha256"]:
        raise UserError(f"{file} is not what the run was to begin with; restore it, or train anew with another --out")
    return load_published(module, net, file)


# ---- reading ---------------------------------------------------------------------------------------------------------


def file_of(path: str | Path) -> Path:
    """The file that is meant (a run folder's model.safetensors); raises UserError where it cannot be one of weights."""
    file = Path(path).expanduser()
    file = file / "model.safetensors" if file.is_dir() else file
    if not file.is_file():
        raise UserError(f"there is no file of weights {file}: check the path")
    if file.suffix.lower() in TORCH:
        raise UserError(f"{file} may hold code, so it is not read here; first: shendu convert-weights {file}")
    if file.suffix.lower() != ".safetensors":
        raise UserError(f"{file} is no .safetensors file; of a .pth make one with: shendu convert-weights FILE.pth")
    if file.stat().st_size > MOST_BYTES:
        raise UserError(f"{file} has more than {MOST_BYTES >> 30} GB; no network here is as large")
    return file


def read(file: Path) -> dict[str, Tensor]:
    """All tensors of a .safetensors file, by name; raises UserError for one that is damaged or something else."""
    with file.open("rb") as opened:
        head = opened.read(24)
    if head.startswith((b"PK\x03\x04", b"\x80\x02")):
        raise UserError(f"{file} is a torch file under another name; rename it to .pth, then: shendu convert-weights")
    if head.startswith(b"version https://git-lfs"):
        raise UserError(f"{file} stands for the weights and does not hold them; fetch them with: git lfs pull")
    try:
        tensors = load_file(file)
    except SafetensorError as error:
        raise UserError(f"{file} is no sound .safetensors file ({plain(error)}); fetch it again") from None
    except (OSError, MemoryError, RuntimeError) as error:
        raise UserError(f"{file} cannot be read ({str(error).splitlines()[0]})") from None
    if not tensors:
        raise UserError(f"{file} holds no tensors")
    known = kept_with(file, "config.json", kept.Network)
    check_seal(file, known.get("files", {}).get(file.name))
    tied = {name: target for name, target in known.get("aliases", {}).items() if target in tensors}
    return unwrapped(unaliased(tensors, tied))


def usable(module: ModuleType, file: Path) -> dict[str, Tensor]:
    """The tensors of a file; raises UserError where the system says that nothing can begin with them."""
    found = read(file)
    if why := module.unusable(found):
        raise UserError(f"{file} {why}")
    return found


def plain(error: SafetensorError) -> str:
    """What a library's message says, without its own name for it."""
    return str(error).splitlines()[0].rpartition("header: ")[2][:120]


def kept_with(file: Path, name: str, wanted: Any = dict[str, Any]) -> Any:
    """What a run keeps beside its weights as JSON, an object or another type; an empty object where there is none."""
    return untrusted.lenient(file.with_name(name), wanted, {})


def check_seal(file: Path, wanted: str | None) -> None:
    """Raises UserError where weights are not those that their run wrote, whose hash is `wanted`; None: nobody knows."""
    if wanted is not None and sha256(file) != wanted:
        raise UserError(
            f"{file} has changed since it was written: its hash is not the one in config.json; take a sound copy"
        )


def unwrapped(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in WRAPPERS:
        if all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): t for name, t in weights.items()}
    return weights


# ---- holding against a network ---------------------------------------------------------------------------------------


def matched(module: ModuleType, net: Config, found: dict[str, Tensor]) -> Match:
    """The better match of the file's own names and of those that the system gives them."""
    blank = outline(net)
    return min((compared(weights, blank, net) for weights in readings(module, found)), key=lambda match: match.wrong)


def readings(module: ModuleType, found: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The weights under their own names, and under the system's."""
    yield found
    try:
        yield module.published(dict(found))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RuntimeError):
        return  # so foreign that it cannot be renamed: the file's own names are then held against the network


def deciding(net: Any, blank: Mapping[str, Tensor]) -> set[str]:
    """The tensors of a network that grow with its number of classes alone: those of its classifiers."""
    for name in ("classes", "outputs"):
        if number := getattr(net, name, 0):
            more = outline(dataclasses.replace(net, **{name: number + 1}))
            return {key for key, t in blank.items() if t.shape != more[key].shape}
    return set()


def compared(weights: Mapping[str, Tensor], blank: Mapping[str, Tensor], net: Config) -> Match:
    """Weights against a network's tensors, by name, shape and kind of number."""
    both = [name for name in blank if name in weights]
    right = {name: alike(weights[name], blank[name]) for name in both}
    decided = set() if all(right.values()) else deciding(net, blank)
    head = heads({name: (weights[name], blank[name]) for name in both if not right[name] and name in decided})
    note = ""
    if head:
        theirs, ours = len(weights[head[0]]), len(blank[head[0]])
        note = f"head: {theirs:,} classes in the file, {ours:,} here: begun anew"
    return Match(
        weights={name: weights[name] for name in both if right[name]},
        missing=tuple(name for name in blank if name not in weights and not name.endswith("num_batches_tracked")),
        extra=tuple(name for name in weights if name not in blank),
        misshapen=tuple(
            f"{name} {described(weights[name], blank[name])} in the file, {described(blank[name], weights[name])} here"
            for name in both
            if not right[name] and name not in head
        ),
        note=note,
    )


def alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.is_floating_point() == other.is_floating_point()


def described(t: Tensor, other: Tensor) -> str:
    """A shape, with the type where it is that which differs."""
    kind = "" if t.is_floating_point() == other.is_floating_point() else f"{t.dtype} ".removeprefix("torch.")
    return f"{kind}{list(t.shape)}"


def heads(differing: Mapping[str, tuple[Tensor, Tensor]]) -> list[str]:
    """Those tensors of classifiers that differ in the number of classes alone, if all have the same number in the file."""
    names = [
        name
        for name, (theirs, ours) in differing.items()
        if ours.dim() and theirs.dim() == ours.dim() and theirs.shape[1:] == ours.shape[1:]
        and theirs.is_floating_point() and len(theirs) > 1
    ]  # fmt: skip
    return names if len({len(differing[name][0]) for name in names}) == 1 else []


def listed(names: Sequence[str]) -> str:
    """All names in one line; where they are many, those with a common beginning folded as deep as it takes: `stages.2.* (60)`."""
    text = ", ".join(names)
    depth = max(name.count(".") for name in names)
    while len(text) > SHOWN_WIDTH and depth >= 0:
        text, depth = folded(names, depth), depth - 1
    return text


def folded(names: Sequence[str], depth: int) -> str:
    """Names by their first `depth` parts, and how many have them."""
    groups: dict[str, list[str]] = {}
    for name in names:
        bare = name.partition(" ")[0]
        groups.setdefault(".".join(bare.split(".")[:depth]), []).append(bare)
    return ", ".join(
        each[0] if len(each) == 1 else f"{stem}.* ({len(each):,})".lstrip(".") for stem, each in groups.items()
    )


# ---- which network a file looks like ---------------------------------------------------------------------------------


def named(module: ModuleType) -> str:
    """A system's name: that of its file."""
    return module.__name__.rpartition(".")[2].replace("_", "-")


def sizes(module: ModuleType) -> list[Config]:
    """The networks of a system that can be built without data: the paper's sizes, and the one of its defaults."""
    known = [net for net, _ in module.SIZES]
    required = [f for f in dataclasses.fields(module.Config) if f.default is f.default_factory is dataclasses.MISSING]
    return known if required else [*known, module.Config()]


def fits(module: ModuleType, net: Any, changed: Mapping[str, Any], found: dict[str, Tensor]) -> bool:
    try:
        return not matched(module, dataclasses.replace(net, **changed), found).wrong
    except (UserError, RuntimeError, LookupError):
        return False


def likely(module: ModuleType, net: Config, found: dict[str, Tensor]) -> str:
    """`; it looks like vgg with depth=16: shendu train vgg …`, or nothing where no network is near."""
    best: tuple[ModuleType, Config] | None = None
    share = max(LIKELY, matched(module, net, found).share)
    for other in candidates(module) if share < SURE else ():
        for size in sizes(other) if not other.unusable(found) else ():
            nearness = matched(other, size, found).share
            if nearness > share:
                best, share = (other, size), nearness
    if best is None:
        return ""
    other, size = best
    fields = dataclasses.fields(other.Config)
    said = {f.name: getattr(size, f.name) for f in fields if f.name not in FROM_DATA}
    plainly = {f.name: f.default for f in fields}
    given = "".join(f" --set {name}={word(value)}" for name, value in said.items() if value != plainly[name])
    return f"; it looks like {named(other)}: shendu train {named(other)} DATA{given}"


def word(value: Any) -> str:
    """A setting as a person writes it."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def candidates(module: ModuleType) -> Iterator[ModuleType]:
    """The system itself, then all others whose requirements are installed."""
    yield module
    for name in registry.systems():
        if name == named(module):
            continue
        try:
            yield registry.load(name)
        except ImportError:
            continue
