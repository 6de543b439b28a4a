"""compress: a finished run made smaller or faster: rounded, pruned, factored, distilled, averaged; each result is a run again."""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
import shlex
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
import torch
from torch import Tensor, nn

from shendu import compressing, config, own, registry
from shendu.compressing import costs, forms, packing
from shendu.compressing.changes import factored, folded, narrowed, quantized, rounding
from shendu.compressing.units import Ask
from shendu.compressing.wanted import Wanted, size_or_time
from shendu.core import Config, Objective, Recipe, Stage
from shendu.errors import Interrupted, UserError
from shendu.loop import Progress, Setup, fit
from shendu.machine import machine
from shendu.objectives.averaging import Averaged
from shendu.objectives.distillation import Distilled
from shendu.objectives.sparse import Narrowing, Sparse, cubic, smallest
from shendu.options import AS_JSON, DATA_DIR, DEVICE, OPENS, PRECISION, echo, emit, table
from shendu.order import made_by
from shendu.pages.compression import cells
from shendu.pages.display import Display
from shendu.parallel import choose_device, place
from shendu.predictor import Predictor
from shendu.run import Folder, sha256, write_text
from shendu.saved import Saved, save_model
from shendu.verbs.compare import multiply_adds
from shendu.verbs.evaluate import data_of
from shendu.verbs.train import FINISHED, PARTS, Run, finish

ORDER = 62
PUBLIC = ("compress",)
ROWS = (1, 32)
"""Rows of the batches that are timed."""
FINE = 0.5
"""Of the run's own rate, what a network is fine-tuned with."""
TUNED, AVERAGED = 0.5, 0.25
"""Of the run's own steps, those of fine-tuning, and those over which weights are averaged."""
LOOKED_AT = 1000
"""Rows on which strengths are tried."""
STRENGTHS = (0.2, 0.4, 0.6, 0.8, 0.9)
BITS_TRIED = (8, 6, 5, 4, 3, 2)
STEP, STRONGEST = 0.05, 0.95
"""By which strengths a budget is searched, and where the search ends."""
CUTS = 5
"""Times that channels are removed gradually."""
TRIED = 0.2
"""Of the fine-tuning's steps, those that candidates for a budget are tried with."""


def compress(
    run: Saved | str | Path | None = None,
    *,
    resume: str | Path | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    data_dir: str | Path | None = None,
    quiet: bool = False,
    say: Callable[[str], None] | None = None,
    **wanted: Any,
) -> Run:
    """Makes a smaller or faster run of a finished one, and returns it; its `result["compressed"]` has what each costs.

    `int8`: "auto" (what is fastest here of what keeps the figure), "weights" (8 bits in the file, computed as before), "static"
    (8-bit products, the inputs' range measured on training rows), "dynamic" (the range taken of each batch; linear layers).
    `int4`: weights of 4 bits in the file. `prune`: that share of the parameters is removed, whole channels of it, or with
    `unstructured` single weights; then it is fine-tuned, or with `rewind=K` trained anew from what the weights were after K steps.
    `gradual` removes a little after the other. `low_rank`: that share of each layer's parameters stays, as two thin layers.
    `distill`: a network of that system (its settings: `student`) learns from the run; `teach`: so does what is fine-tuned.
    `qat`: trained with the rounding of int8 or int4. `average`: the mean of the weights of a further training. `soup`: the mean of
    this run's weights and those of other runs. `epochs`: passes of fine-tuning. `budget`, "2 MB" or "5 ms": searched for.
    `out` is the run folder, `resume` one that was stopped. Raises UserError: for what cannot be done to this network, and where the
    result is slower than the run beyond the noise (`allow_slower`), unless a size was the aim; Interrupted after a signal.
    """
    display = Display(quiet, say)
    if resume is not None:
        work = continued(resume, bool(wanted.pop("allow_slower", False)), device, precision, data_dir, display)
        if run is not None or wanted:
            raise UserError(
                f"{resume} keeps its settings; continue it with: shendu compress --resume {shlex.quote(str(resume))}"
            )
    else:
        if run is None:
            raise UserError("compress needs a run: shendu compress RUN --int8; `shendu runs` lists those under runs/")
        (asked,) = config.settle(wanted, Wanted())
        work = Work(Saved.of(run), asked, device, precision, data_dir, display)
        work.search()
        work.folder = Folder(out) if out else beside(work.base, work.wanted)
        if work.folder.path.exists() and any(work.folder.path.iterdir()):
            raise UserError(f"{work.folder.path} is not empty; choose another folder with --out")
    folder = work.folder
    began = resume is not None
    with folder.alone():
        try:
            if folder.read("recipe.json") is None:
                work.keep_code()
                folder.write("recipe.json", work.recipe_json())
                folder.write("env.json", machine())
            work.make()
        except Interrupted as why:
            raise Interrupted(
                f"{why}; everything is saved, continue with: {Saved(folder.path).continued}", why.signal
            ) from None
        except UserError:
            folder.check_there()
            if not began and not folder.checkpoints():
                folder.remove()
            raise
    return Run(folder.path, **work.base.opening())


def beside(base: Saved, wanted: Wanted) -> Folder:
    """A new folder beside the run's, called after it and what is done."""
    short = "-".join(word.strip("-").replace("=", "-").replace("/", "-").replace(" ", "") for word in wanted.words())[
        :60
    ]
    for number in range(1, 10_000):
        path = base.path.with_name(f"{base.path.name}_{short}{f'_{number}' if number > 1 else ''}")
        if not path.exists():
            return Folder(path)
    raise UserError(f"there are 9,999 runs beside {base.path}; choose a folder with --out")


def continued(path: Any, allow: bool, device: str, precision: str, data_dir: Any, display: Display) -> Work:
    """What a folder was begun with; raises UserError for what is no such run, and where the run that it is made of has changed."""
    begun = Saved(path)
    about = begun.recipe.get("compressed")
    if about is None:
        raise UserError(f"{path} was trained, not compressed; continue it with: {begun.continued}")
    wanted = config.from_json(Wanted, about["wanted"])
    work = Work(
        Saved(about["of"]),
        replace(wanted, allow_slower=allow or wanted.allow_slower),
        device,
        precision,
        data_dir,
        display,
    )
    if work.sha256 != about["sha256"]:
        raise UserError(f"{about['of']} has changed since {path} was made of it; restore it, or compress anew")
    work.folder, work.decided = begun.folder, dict(about["decided"])
    return work


class Started(NamedTuple):
    """A network as it is before it is trained."""

    net: Config
    model: nn.Module
    masks: dict[str, Tensor]
    """Weights that are pruned one by one -> what of them stays."""
    cuts: tuple[Callable[[nn.Module], narrowed.Narrowed], ...] = ()
    """What removes channels while it is trained, one after the other."""
    change: narrowed.Narrowed | None = None
    """What these do together."""


class Work:
    """One run that becomes another."""

    folder: Folder

    def __init__(
        self, base: Saved, wanted: Wanted, device: str, precision: str, data_dir: Any, display: Display
    ) -> None:
        self.base, self.wanted, self.display, self.precision = base, wanted, display, precision
        if base.result is None:
            raise base.unfinished()
        if not wanted.does:
            raise UserError(
                "say what is to be done: --int8, --int4, --prune 0.8, --low-rank, --distill SYSTEM, --average or --budget"
            )
        self.device = choose_device(device)
        self.dataset = data_of(base, data_dir)
        made = base.recipe
        if self.dataset.hash != made["data"]["hash"]:
            raise UserError(
                f"{self.dataset.name} has changed since {base.path} was trained on it; restore it, or train anew"
            )
        self.own = base.code.recipe(self.dataset, **made["choices"])
        self.system, self.choices, self.recipe = made["system"], made["choices"], self.own
        self.summary, self.about = made["summary"], made.get("own")
        if wanted.distill:
            word, given = registry.spelled(wanted.distill)
            student = made_by(word)
            self.system, self.summary, self.about = student.name, student.summary, student.own
            self.choices = {**given, **wanted.student}
            self.recipe = student.code.recipe(self.dataset, **self.choices)
            check_student(self.own, self.recipe, base, self.system)
        elif wanted.student:
            raise UserError("--set is for the student of --distill; leave it out, or name the student")
        if wanted.trains and not any(stage.steps for stage in self.recipe.stages):
            raise UserError(f"{self.system} is constructed, not trained, so it cannot be fine-tuned; use --int8")
        if wanted.rewind >= 0 and (made.get("weights") or compressing.parts(base.net)[1]):
            raise UserError(
                f"{base.path} did not begin with weights of its own, so there is nothing to go back to; leave --rewind out"
            )
        self.sha256 = sha256(base.path / "model.safetensors")
        self.decided: dict[str, Any] = {}
        self._ask: Ask | None = None

    # ---- what it begins with

    def recipe_json(self) -> dict[str, Any]:
        """As that of the run, or of a trained student, and what it was made of."""
        made, stage = self.base.recipe, self.recipe.stages[-1]
        steps = self.steps() if self.wanted.trains else 0
        words = ["shendu", "compress", str(self.base.path), *self.wanted.words()]
        return {
            **made, "system": self.system, "summary": self.summary, "choices": config.to_json(self.choices),
            "settings": self.recipe.settings,
            "model": config.to_json(compressing.parts(self.recipe.model)[0]), "select_by": "", "ema": 0.0, "weights": None,
            "own": self.about,
            "stages": [{"name": "fine-tuning", "steps": steps, "batch_size": stage.batch_size, "accumulate": stage.accumulate}],
            "compressed": {
                "of": str(self.base.path), "sha256": self.sha256, "wanted": config.to_json(self.wanted), "command": shlex.join(words),
                "decided": self.decided,
            },
        }  # fmt: skip

    def keep_code(self) -> None:
        """Of a person's own system its text, as the run that it made keeps it."""
        if self.about and "file" in self.about:
            text = (
                own.read(Path(self.about["file"]))[0]
                if self.wanted.distill
                else (self.base.path / own.KEPT).read_text("utf-8")
            )
            write_text(self.folder.path / own.KEPT, text)

    def decide(self, name: str, value: Any) -> None:
        """What the clock, or accident, decided is written down, so that a continued run does not decide anew."""
        self.decided[name] = value
        made = self.folder.need("recipe.json")
        self.folder.write("recipe.json", {**made, "compressed": {**made["compressed"], "decided": self.decided}})

    def ask(self) -> Ask:
        """How the network is called: on a few rows, as it is measured and as it is trained."""
        if self._ask is None:
            self._ask = forms.asking_of(self.recipe)
        return self._ask

    def started(self) -> Started:
        """The network with all that is done before training."""
        wanted, net = self.wanted, self.recipe.model
        if wanted.distill:
            return Started(net, net.build(), {})  # its weights are the loop's to draw
        net, model = self.base.net, copy.deepcopy(self.base.model)
        if wanted.soup:
            model.load_state_dict(forms.mean([model, *(run.model for run in alike(self.base, wanted.soup))]))
        if wanted.low_rank:
            net = compressing.changed(net, (factored.factored(model, wanted.low_rank),))
        if wanted.prune and wanted.unstructured:
            masks = smallest(forms.weights_of(model), 0.0 if wanted.gradual else wanted.prune)
            return Started(net, model, masks)
        if wanted.prune:
            found = narrowed.prunable(model, self.ask())
            if wanted.gradual or wanted.rewind >= 0:
                return self.cutting(net, model, found)
            change, model = narrowed.narrowed(found, narrowed.chosen(found, wanted.prune))
            net = compressing.changed(net, (change,))
        return Started(net, model, {})

    def cutting(self, net: Config, model: nn.Module, found: narrowed.Prunable) -> Started:
        """Channels that go while the rest is trained: all at once, or a little after the other."""
        times = CUTS if self.wanted.gradual else 1
        gone: list[list[int]] = [[]]
        for i in range(times):
            gone.append(narrowed.chosen(found, cubic(self.wanted.prune, i, times)))
        cuts = tuple(
            partial(narrowed.cut, found=found, gone=after, before=before) for before, after in itertools.pairwise(gone)
        )
        return Started(net, model, {}, cuts, narrowed.narrowed(found, gone[-1])[0])

    # ---- training

    def steps(self) -> int:
        """Of the training."""
        stage, wanted = self.recipe.stages[-1], self.wanted
        rows = max(1, self.recipe.splits["train"].rows)
        if wanted.epochs:
            return max(1, round(wanted.epochs * rows / stage.batch_size))
        share = 1.0 if wanted.distill or wanted.rewind >= 0 else AVERAGED if wanted.average else TUNED
        return max(1, round(share * stage.steps))

    def training(self, start: Started, steps: int) -> Recipe:
        """The run's own recipe: its source, its optimiser, its objective with what is added to it; fewer steps, a lower rate."""
        wanted, stage, teacher = self.wanted, self.recipe.stages[-1], self.base.model
        fine = 1.0 if wanted.distill or wanted.rewind >= 0 else FINE

        def objective(model: nn.Module, cut: Callable[[nn.Module], Any] | None = None) -> Objective:
            built = stage.objective(model)
            if wanted.distill or wanted.teach:
                built = Distilled(built, place(copy.deepcopy(teacher), self.device), self.own.task.distance)
            if start.masks:
                share = wanted.prune if wanted.gradual else 0.0
                built = Sparse(built, start.masks, share=share, steps=steps)
            if cut:
                built = Narrowing(built, cut)
            if wanted.average:
                built = Averaged(built, model, every=max(1, steps // 20), steps=steps)
            return built

        parts = max(1, len(start.cuts))
        edges = [steps * i // parts for i in range(parts + 1)]

        def part(i: int) -> Stage:
            return replace(
                stage, name="fine-tuning", steps=edges[i + 1] - edges[i],
                objective=partial(objective, cut=start.cuts[i] if start.cuts else None),
                schedule=lambda step, of: fine * (1.0 if wanted.average else stage.schedule(edges[i] + step, steps)),
            )  # fmt: skip

        stages = tuple(part(i) for i in range(parts))
        if wanted.rewind > 0:
            first = min(wanted.rewind, stage.steps)
            early = replace(
                stage, name="before", steps=first, schedule=lambda step, of: stage.schedule(step, stage.steps)
            )
            stages = (early, *stages)
        net = start.net
        if wanted.qat:
            net = compressing.changed(net, (rounding.rounding(start.model, wanted.bits),))
        every = max(1, steps // 5)
        return replace(self.recipe, model=net, stages=stages, ema=0.0, select_by="", patience=0, validate_every=every)

    def trained(
        self, start: Started, folder: Folder, steps: int, say: Callable[[str], None]
    ) -> tuple[nn.Module, Progress]:
        """Through the loop; continues what lies in the folder."""
        recipe = self.training(start, steps)
        fresh = bool(self.wanted.distill) or self.wanted.rewind >= 0

        def weights() -> dict[str, Tensor]:
            model = copy.deepcopy(start.model)
            for change in compressing.parts(recipe.model)[1] if self.wanted.qat else ():
                if change.kind == rounding.Rounding.kind:
                    change.apply(model)
            return {name: t.clone() for name, t in model.state_dict().items()}

        setup = Setup(
            seed=recipe.seed, device=self.device, precision=self.precision, compile="off", say=say, show=self.display.show,
            start=dict if fresh else weights,
        )  # fmt: skip
        model, at = fit(recipe, folder, setup)
        return place(model, torch.device("cpu")).eval(), at

    # ---- the whole

    def make(self) -> None:
        """From the run to the finished folder."""
        folder, wanted, say = self.folder, self.wanted, self.display.say
        if all((folder.path / name).exists() for name in FINISHED):
            say(f"{folder.path} is finished already; its figures are in result.json")
            return
        start = self.started()
        net, model, at = start.net, start.model, Progress(compiled=False)
        if wanted.prune or wanted.distill:
            self.check_speed(model, "before it is trained")
        strengths = self.decided.get("strengths")
        if strengths is None:
            self.decide("strengths", strengths := self.strengths(start))
        if wanted.trains:
            with self.display.live(f"{self.system} on {self.dataset.name}", folder):
                model, at = self.trained(start, folder, self.steps(), say)
            rounding.settled(model)
            net, model = self.after(start, net, model)
        elif wanted.soup:
            forms.renormed(model, self.recipe)
        net, model = self.rounded(net, model)
        kept = packing.packable(dict(model.named_parameters()), self.bits_of())
        forms.round_in_place(model, kept)
        recipe = replace(self.recipe, model=net)
        save_model(folder, self.system, net, model, recipe.task, kept)
        compared = self.compared(net, model, strengths)
        setup = Setup(seed=recipe.seed, device=self.device, precision=self.precision, say=say, show=self.display.show)
        settled = Predictor(recipe.task, model, str(self.device), self.precision)
        setup.precision = settled.precision
        finish(
            folder,
            self.system,
            self.dataset,
            recipe,
            setup,
            model,
            at,
            self.display,
            math.inf,
            kept,
            {"compressed": compared},
        )
        for row in cells(Saved(folder.path).result):
            say("  ".join(row)) if self.display.quiet else None

    def after(self, start: Started, net: Config, model: nn.Module) -> tuple[Config, nn.Module]:
        """What was done while it was trained, and what was put off until then."""
        wanted = self.wanted
        if start.change:
            return compressing.changed(net, (start.change,)), model
        if wanted.average:
            forms.renormed(model, self.recipe)
        return net, model

    def bits_of(self) -> int:
        """Of the file's weights: as is wanted, else as they are in the run's."""
        before = [how["bits"] for how in self.base.packing.values()] if not self.wanted.distill else []
        return self.wanted.bits if self.wanted.bits != 32 else min(before, default=32)

    def rounded(self, net: Config, model: nn.Module) -> tuple[Config, nn.Module]:
        """Layers that compute in 8 bits, where that is wanted, or faster here and as good."""
        how = self.wanted.int8
        if how in ("", "weights"):
            return net, model
        if how == "auto":
            how = self.decided.get("int8") or self.fastest(net, model)
            if "int8" not in self.decided:
                self.decide("int8", how)
            if how == "weights":
                return net, model
        return self.in_whole(net, model, how)

    def in_whole(self, net: Config, model: nn.Module, how: str) -> tuple[Config, nn.Module]:
        made, changes = copy.deepcopy(model), []
        if found := folded.folded(made, self.ask()):
            change, made = found
            changes.append(change)
        change_in = quantized.quantized(made, how, self.recipe.task, forms.calibration(self.recipe))
        return compressing.changed(net, (*changes, change_in)), made

    def fastest(self, net: Config, model: nn.Module) -> str:
        """The way to compute in 8 bits that is fastest here, of those whose figure is not below the rounded weights' beyond the noise."""
        plain = copy.deepcopy(model)
        forms.round_in_place(plain, packing.packable(dict(plain.named_parameters()), 8))
        ways: dict[str, nn.Module] = {"weights": plain}
        for how in ("static", "dynamic"):
            try:
                ways[how] = self.in_whole(net, model, how)[1]
            except UserError:
                continue
        predictors = {how: Predictor(self.recipe.task, each, "cpu", self.precision) for how, each in ways.items()}
        times = dict(zip(predictors, costs.timed(list(predictors.values()), ROWS[-1]), strict=True))
        ones = dict(zip(predictors, costs.timed(list(predictors.values()), ROWS[0]), strict=True))
        base = self.figure(predictors["weights"])
        for how in sorted(times, key=lambda how: costs.latency(times[how]).p50):
            if how == "weights":
                break
            slow = costs.slower(ones["weights"], ones[how]).sure or costs.slower(times["weights"], times[how]).sure
            if not slow and self.as_good(self.figure(predictors[how]), base):
                self.display.say(f"int8={how}: {costs.latency(times[how]).p50:.3g} ms for {ROWS[-1]} rows, "
                                 f"{costs.latency(times['weights']).p50:.3g} ms with rounded weights alone")  # fmt: skip
                return how
        self.display.say("int8=weights: products of 8 bits are not faster here, or not as good")
        return "weights"

    def figure(self, predictor: Predictor, most: int = LOOKED_AT) -> dict[str, Any]:
        """The first figure on rows of the validation part, else of the training part, with its interval."""
        part = "validation" if "validation" in self.recipe.splits else "train"
        name, metric = next(iter(self.recipe.task.metrics().items()))
        found = predictor.evaluate(self.recipe.splits[part], names=(name,), most=most)
        first, higher = next(iter(metric.higher.items()))
        value = found.figures[first]
        return {"name": first, "value": value, "interval": found.intervals.get(first, (value, value)), "higher": higher}

    def as_good(self, one: dict[str, Any], other: dict[str, Any]) -> bool:
        """Whether a figure lies not below the other's interval."""
        low, high = other["interval"]
        return bool(one["value"] >= low) if one["higher"] else bool(one["value"] <= high)

    # ---- strengths

    def strengths(self, start: Started) -> dict[str, Any]:
        """The first figure by the strength of what is done, before anything is trained; empty where nothing has a strength."""
        wanted, points = self.wanted, []
        if wanted.distill or not (wanted.prune or wanted.low_rank or wanted.bits < 32):
            return {}
        ways: dict[float, Callable[[], nn.Module]] = {}
        origin = self.base.model
        if wanted.prune and not wanted.unstructured:
            found = narrowed.prunable(origin, self.ask())
            ways = {share: partial(narrowed.without, found, share) for share in STRENGTHS}
        elif wanted.prune:
            ways = {share: partial(forms.zeroed, origin, share) for share in STRENGTHS}
        elif wanted.low_rank:
            ways = {share: partial(forms.thin, origin, share) for share in reversed(STRENGTHS)}
        else:
            ways = {bits: partial(forms.in_bits, origin, bits) for bits in BITS_TRIED}
        what = "parameters removed" if wanted.prune else "parameters kept" if wanted.low_rank else "bits of a weight"
        about = self.figure(Predictor(self.recipe.task, origin, "cpu", self.precision))
        for strength, form in ways.items():
            try:
                made = form()
            except UserError:  # stronger than this network allows
                continue
            points.append([strength, self.figure(Predictor(self.recipe.task, made, "cpu", self.precision))["value"]])
        return {"what": what, "figure": about["name"], "before": about["value"], "points": points}

    # ---- what it costs

    def compared(self, net: Config, model: nn.Module, strengths: dict[str, Any]) -> dict[str, Any]:
        """What the run and the result cost; raises UserError where the result is slower."""
        ours = Predictor(self.recipe.task, model, "cpu", self.precision)
        theirs = Predictor(self.own.task, self.base.model, "cpu", self.precision)
        same = compressing.parts(net) == compressing.parts(self.base.net)
        before, after = self.cost(theirs, self.base.path), self.cost(ours, self.folder.path)
        ratios = {}
        for count in ROWS:
            times = costs.timed([theirs, ours], count)
            before |= named(costs.latency(times[0]), count)
            after |= named(costs.latency(times[1]), count)
            ratio = ratios[str(count)] = costs.slower(*times)
            if ratio.sure and not same:
                self.refuse(ratio, count, "")
        part = next(part for part in reversed(PARTS) if part in self.base.result["metrics"])
        first = next(iter(self.base.result["metrics"][part]))
        before["figure"] = self.base.result["metrics"][part][first]
        before["interval"] = self.base.result["intervals"].get(part, {}).get(first)
        return {
            "of": str(self.base.path), "metric": first, "part": part, "before": before, "after": after,
            "precision": {"before": theirs.precision, "after": ours.precision},
            "slower": {count: list(ratio) for count, ratio in ratios.items()}, "strengths": strengths,
        }  # fmt: skip

    def cost(self, predictor: Predictor, path: Path) -> dict[str, Any]:
        return {
            "bytes": (path / "model.safetensors").stat().st_size, "parameters": costs.parameters(predictor.model),
            "multiply_adds": multiply_adds(predictor.model, predictor.task), "memory": costs.memory(predictor, ROWS[-1]),
        }  # fmt: skip

    def check_speed(self, model: nn.Module, when: str) -> None:
        """Raises UserError where a network is slower than the run's already; its weights do not matter for that."""
        pair = [Predictor(self.own.task, self.base.model, "cpu", self.precision),
                Predictor(self.recipe.task, model, "cpu", self.precision)]  # fmt: skip
        for count in ROWS:
            ratio = costs.slower(*costs.timed(pair, count))
            if ratio.sure and not self.wanted.rewind >= 0 and not self.wanted.gradual:
                self.refuse(ratio, count, f" {when}")

    def refuse(self, ratio: costs.Slower, count: int, when: str) -> None:
        if self.wanted.allow_slower or self.wanted.aims_at_size:
            self.display.say(f"{count} row{'s' * (count > 1)} take {ratio.ratio:.2f} times as long{when}")
            return
        again = f"shendu compress --resume {shlex.quote(str(self.folder.path))} --allow-slower"
        rest = again if self.folder.checkpoints() else "add --allow-slower"
        raise UserError(
            f"the result is slower than {self.base.path}{when}: {count} row{'s' * (count > 1)} take {ratio.ratio:.2f} times as long "
            f"(95% interval {ratio.low:.2f} to {ratio.high:.2f}); to have it all the same: {rest}"
        )

    # ---- budgets

    def search(self) -> None:
        """Of a budget: the strength and the bits that fit it; of several ways the one whose figure is best after a short training."""
        kind, limit = size_or_time(self.wanted.budget)
        if not kind:
            return
        if self.wanted.prune or self.wanted.low_rank or self.wanted.distill:
            raise UserError("--budget searches for how much is removed; leave --prune, --low-rank and --distill out")
        ways = [self.wanted] if self.wanted.bits < 32 else [
            self.wanted, replace(self.wanted, int8="weights" if kind == "bytes" else "auto"),
            *([replace(self.wanted, int4=True)] if kind == "bytes" else []),
        ]  # fmt: skip
        if self.wanted.bits == 32 and self.costs_of(self.wanted, self.base.model, kind) <= limit:
            raise UserError(f"{self.base.path} fits --budget {self.wanted.budget!r} as it is; name a smaller one")
        fitting = [found for form in ways if (found := self.mildest(form, kind, limit)) is not None]
        if not fitting:
            raise UserError(
                f"nothing fits --budget {self.wanted.budget!r}: with {STRONGEST:.0%} of what can be removed gone the network is still "
                "larger or slower; raise it, or distil into a smaller network with --distill"
            )
        if len(fitting) > 1 and all(each.prune == 0 for each in fitting):
            fitting = fitting[:1]  # as the weights are, or rounded least
        self.wanted = fitting[0] if len(fitting) == 1 else self.best(fitting)
        self.display.say(f"--budget {self.wanted.budget!r}: {shlex.join(self.wanted.words())}")

    def mildest(self, form: Wanted, kind: str, limit: float) -> Wanted | None:
        """The least that has to be removed; None where nothing suffices."""
        found: narrowed.Prunable | None = None
        with contextlib.suppress(UserError):
            found = narrowed.prunable(self.base.model, self.ask())
            if self.costs_of(form, narrowed.without(found, STRONGEST), kind) > limit:
                return None
        for number in range(round(STRONGEST / STEP) + 1):
            share = round(number * STEP, 2)
            model = self.base.model
            if share:
                try:
                    found = found or narrowed.prunable(self.base.model, self.ask())
                    model = narrowed.narrowed(found, narrowed.chosen(found, share))[1]
                except UserError:
                    return None
            tried = replace(form, prune=share)
            if self.costs_of(tried, model, kind) <= limit:
                return tried if tried.does else None
        return None

    def costs_of(self, form: Wanted, model: nn.Module, kind: str) -> float:
        """Bytes of the file, or milliseconds of one row."""
        if kind == "bytes":
            kept = packing.packable(dict(model.named_parameters()), form.bits)
            return float(packing.size(packing.packed(dict(model.state_dict()), kept)))
        work = copy.copy(self)
        work.wanted = form
        made = work.in_whole(self.base.net, model, "static")[1] if form.int8 in ("static", "auto") else model
        return costs.latency(costs.timed([Predictor(self.recipe.task, made, "cpu", self.precision)], 1)[0]).p50

    def best(self, ways: list[Wanted]) -> Wanted:
        """The one whose figure is best after a short training, in folders that are thrown away."""
        import tempfile

        figures = []
        for form in ways:
            work = copy.copy(self)
            work.wanted = form
            start = work.started()
            model = start.model
            if form.trains:
                with tempfile.TemporaryDirectory() as place_:
                    model, _ = work.trained(
                        start, Folder(place_), max(1, round(TRIED * work.steps())), lambda line: None
                    )
            forms.round_in_place(model, packing.packable(dict(model.named_parameters()), form.bits))
            found = work.figure(Predictor(self.recipe.task, model, "cpu", self.precision))
            figures.append(found["value"] if found["higher"] else -found["value"])
            self.display.say(f"tried {shlex.join(form.words())}: {found['name']} {found['value']:.4f}")
        return ways[max(range(len(ways)), key=figures.__getitem__)]


# ---- other runs ------------------------------------------------------------------------------------------------------


def alike(base: Saved, others: tuple[str, ...]) -> list[Saved]:
    """Other runs of the same network and task; raises UserError for those that are of another."""
    runs = [Saved(other) for other in others]
    for other in runs:
        if other.result is None:
            raise other.unfinished()
        if other.net != base.net or other.task.to_json()["targets"] != base.task.to_json()["targets"]:
            raise UserError(
                f"{other.path} is a run of another network or task than {base.path}; average runs that differ in their seed alone"
            )
    return runs


def check_student(own: Recipe, student: Recipe, base: Saved, system: str) -> None:
    """Raises UserError where a student is not asked the same as its teacher."""
    mine, theirs = own.task.to_json(), student.task.to_json()
    for what in ("kind", "inputs", "targets"):
        if mine[what] != theirs[what]:
            raise UserError(
                f"{system} cannot learn from {base.path}: its task has other {what} than the run's; distil into another system"
            )


def named(latency: costs.Latency, count: int) -> dict[str, float]:
    return {f"p50_{count}": latency.p50, f"p99_{count}": latency.p99}


# ---- the command -----------------------------------------------------------------------------------------------------


@click.command()
@click.argument("run", required=False)
@click.option("--int8", is_flag=False, flag_value="auto", default="", metavar="[auto|weights|static|dynamic]",
              help="Weights of 8 bits; static and dynamic compute in 8 bits too. auto: what is fastest here and as good.")  # fmt: skip
@click.option("--int4", is_flag=True, help="Weights of 4 bits in the file.")
@click.option(
    "--prune", type=float, default=0.0, metavar="SHARE", help="Remove that share of the parameters: whole channels."
)
@click.option("--unstructured", is_flag=True, help="With --prune: single weights become zero instead.")
@click.option("--gradual", is_flag=True, help="With --prune: a little after the other, while it is trained.")
@click.option(
    "--rewind",
    type=int,
    default=-1,
    metavar="STEPS",
    help="With --prune: train anew from the weights after so many steps.",
)
@click.option("--low-rank", is_flag=False, flag_value="0.5", type=float, default=0.0, metavar="[SHARE]",
              help="Each layer as two thin ones that keep that share of its parameters (0.5).")  # fmt: skip
@click.option("--distill", default="", metavar="SYSTEM", help="A network of SYSTEM learns from RUN.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of the student; repeatable.")
@click.option("--teach", is_flag=True, help="What is fine-tuned learns from RUN too.")
@click.option("--qat", is_flag=True, help="With --int8 or --int4: train with the rounding.")
@click.option("--average", is_flag=True, help="The mean of the weights of a further training.")
@click.option("--soup", multiple=True, metavar="RUN", help="The mean of the weights of RUN and this run; repeatable.")
@click.option(
    "--epochs", type=float, default=0.0, help="Passes over the training rows (default: half of the run's own)."
)
@click.option("--budget", default="", metavar="SIZE|TIME", help='Search for what fits: "2 MB", "5 ms" for a row.')
@click.option("--allow-slower", is_flag=True, help="Give a result back that is slower than RUN.")
@DEVICE
@PRECISION
@DATA_DIR
@OPENS
@click.option("--out", metavar="DIR", help="The run folder itself (default: one beside RUN).")
@click.option("--resume", metavar="DIR", help="Continue what was stopped.")
@click.option("--quiet", is_flag=True, help="No progress, no table.")
@AS_JSON
def command(
    run: str | None, settings: tuple[str, ...], resume: str | None, quiet: bool, as_json: bool, **options: Any
) -> None:
    """RUN made smaller or faster: rounded, pruned, factored, distilled.

    \b
    shendu compress runs/2026-11-22_resnet_mnist_1 --int8
    shendu compress runs/2026-11-22_resnet_mnist_1 --prune 0.8 --int8
    shendu compress runs/2026-11-22_resnet_mnist_1 --distill lenet
    shendu compress runs/2026-11-22_resnet_mnist_1 --budget "200 kB"
    """
    usual = Wanted()
    engine = {name: options.pop(name) for name in ("device", "precision", "data_dir", "out")}
    given = {name: value for name, value in options.items() if value != vars(usual)[name]}
    if settings:
        given["student"] = config.parse_settings(settings)
    done = compress(run, resume=resume, quiet=quiet or as_json, **engine, **given)
    if as_json:
        return emit(done.result)
    if quiet:
        return echo(done.path)
    table(cells(done.result))
    return None
