"""Proves that a change moves no byte: digests of every system's small run, in one source tree and in another.

    python tests/digests.py write FILE.json           # of the tree that this file lies in
    python tests/digests.py diff ONE.json OTHER.json
    python tests/digests.py compare COMMIT [COMMIT]   # both in checkouts of their own; else with the working tree

`--only lenet,gpt` for some systems. Exit code 1 where anything differs. A case is a system, a form of it (or
`rich`: everything that a run can carry), a precision and a number of threads. Digests hold on one machine only, since
kernels round differently elsewhere, so none is kept. One and the same copy of this file measures both trees of a
comparison: it knows no more of them than `shendu.train`, `tiny` and the files of a run.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from forms import FORMS, RICH, WORDS

ROOT = Path(__file__).resolve().parents[1]
MOST_STEPS = 12
"""Of each stage."""
PRECISIONS, THREADS = ("fp32", "bf16"), (1, 2)
PARTS = ("weights", "losses", "figures", "intervals")
"""The digests of a case."""


# ---- one run


def digests(folder: Path) -> dict[str, str]:
    """The digest of each part of a finished run: nothing in them depends on time or place."""
    logged = folder / "metrics.jsonl"  # what is constructed, not trained, logs nothing
    lines = [json.loads(line) for line in logged.read_text(encoding="utf-8").splitlines()] if logged.exists() else []
    losses = [{k: v for k, v in each.items() if k in ("loss", "lr") or k.startswith("validation")} for each in lines]
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    parts = (weights(folder / "model.safetensors"), losses, result["metrics"], result.get("intervals", {}))
    said = (each if isinstance(each, bytes) else json.dumps(each, sort_keys=True).encode() for each in parts)
    return {part: hashlib.sha256(each).hexdigest() for part, each in zip(PARTS, said, strict=True)}


def weights(path: Path) -> bytes:
    """Name, type, shape and bytes of every tensor in a file."""
    import torch
    from safetensors.torch import load_file

    found = b""
    for name, t in sorted(load_file(path).items()):
        found += f"\n{name} {t.dtype} {tuple(t.shape)}\n".encode() + t.reshape(-1).view(torch.uint8).numpy().tobytes()
    return found


def trained(system: str, data: Any, choices: dict[str, Any], precision: str, threads: int) -> dict[str, Any]:
    """The digests of one run; the error where there is none."""
    import torch

    import shendu

    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as path:
        try:
            shendu.train(
                system, data, out=Path(path, "run"), device="cpu", precision=precision, compile="off", quiet=True,
                say=lambda text: None, **choices,
            )  # fmt: skip
            return {"choices": repr(choices), **digests(Path(path, "run"))}
        except Exception as error:
            return {"choices": repr(choices), "error": f"{type(error).__name__}: {error}"}


# ---- one tree


def measured(tree: Path, only: list[str]) -> dict[str, dict[str, Any]]:
    """Case -> its digests, in a source tree."""
    sys.path.insert(0, str(tree))
    with tempfile.TemporaryDirectory() as cache:
        os.environ["SHENDU_CACHE"] = os.environ["MPLCONFIGDIR"] = cache  # one tree must not read what another wrote
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # two threads that spin beside other work are ten times slower
        import shendu

        assert Path(shendu.__file__).resolve().is_relative_to(tree.resolve()), f"{shendu.__file__} is not in {tree}"
        without_reports()
        found: dict[str, dict[str, Any]] = {}
        for case, (system, data, choices, precision, threads) in cases(only):
            began = time.monotonic()
            found[case] = trained(system, data, choices, precision, threads)
            if found[case].get("error", "").startswith("UserError") and "augment" in choices:  # no pictures
                found[case] = trained(system, data, {**choices, "augment": ()}, precision, threads)
            print(f"{time.monotonic() - began:6.1f} s  {case}  {found[case].get('error', '')}", flush=True)
    return found


def cases(only: list[str]) -> Iterator[tuple[str, tuple[str, Any, dict[str, Any], str, int]]]:
    """Every case's name, and its run: system, data, choices, precision, threads."""
    from shendu import registry

    known = [name for name in registry.systems() if name != "backbone" or importlib.util.find_spec("timm")]
    if importlib.util.find_spec("timm"):
        importlib.import_module("torchvision_shim")
    if wrong := set(only) - set(known):
        raise SystemExit(f"no such system: {', '.join(sorted(wrong))}")
    for system in only or known:
        data, small = registry.load(system).tiny()
        small |= {key: min(value, MOST_STEPS) for key, value in small.items() if key.endswith("steps")}
        variants = {",".join(f"{k}={v}" for k, v in form.items()) or "plain": form for form in FORMS.get(system, ({},))}
        variants["rich"] = {**RICH, "augment": WORDS}
        for variant, more in variants.items():
            for precision in PRECISIONS:
                for threads in THREADS:
                    yield (
                        f"{system} {variant} {precision} {threads}",
                        (system, data, {**small, **more}, precision, threads),
                    )


def without_reports() -> None:
    """A run's page is no part of its digests, and takes longer than a small run."""
    try:
        page = importlib.import_module("shendu.verbs.report")
    except ImportError:
        return
    if hasattr(page, "write"):
        page.write = lambda *given, **named: None


# ---- two trees


def differences(one: dict[str, dict[str, Any]], other: dict[str, dict[str, Any]]) -> tuple[list[str], list[str]]:
    """A line for each case that is not the same in both, and for each that fails in both alike, which proves nothing."""
    differ = [
        f"{case}: only in the {'first' if case in one else 'second'}" for case in sorted(one.keys() ^ other.keys())
    ]
    failed = []
    for case in (case for case in one if case in other):
        a, b = one[case], other[case]
        errors = [f"{which}: {each['error']}" for which, each in (("first", a), ("second", b)) if "error" in each]
        if errors and a == b:
            failed.append(f"{case}: fails in both: {a['error']}")
        elif errors or a != b:
            differ.append(f"{case}: {'; '.join(errors) or ', '.join(part for part in a if a[part] != b[part])}")
    return differ, failed


def told(one: dict[str, dict[str, Any]], other: dict[str, dict[str, Any]]) -> int:
    """Prints what differs; the exit code, which is 1 as well where nothing was compared."""
    differ, failed = differences(one, other)
    total = len(one.keys() | other.keys())
    same = total - len(differ) - len(failed)
    print(
        *failed,
        *differ,
        f"of {total} cases {len(differ)} differ, {same} are the same, {len(failed)} fail in both",
        sep="\n",
    )
    return bool(differ) or not same


def read(path: Path) -> dict[str, dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8"))


def of_commit(commit: str, only: list[str], room: Path) -> dict[str, dict[str, Any]]:
    """The digests of a commit (empty: of the working tree), measured by another process."""
    git, tree, file = ["git", "-C", str(ROOT), "worktree"], room / "tree" if commit else ROOT, room / "digests.json"
    if commit:
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), commit], check=True)
    try:
        command = [sys.executable, __file__, "write", str(file), "--tree", str(tree), "--only", ",".join(only)]
        subprocess.run(command, env={**os.environ, "PYTHONPATH": str(tree)}, check=False)
    finally:
        if commit:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)
    return read(file)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    write, diff, compare = (verbs.add_parser(name) for name in ("write", "diff", "compare"))
    write.add_argument("file", type=Path)
    write.add_argument("--tree", type=Path, default=ROOT)
    diff.add_argument("files", type=Path, nargs=2)
    compare.add_argument("commits", nargs="+")
    for each in (write, compare):
        each.add_argument("--only", type=lambda text: [name for name in text.split(",") if name], default=[])
    said = parser.parse_args()
    if said.verb == "write":
        found = measured(said.tree, said.only)
        said.file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        return any("error" in each for each in found.values())
    if said.verb == "diff":
        return told(*map(read, said.files))
    both = []
    for commit in [*said.commits, ""][:2]:
        with tempfile.TemporaryDirectory() as room:
            both.append(of_commit(commit, said.only, Path(room)))
    return told(*both)


if __name__ == "__main__":
    sys.exit(main())
