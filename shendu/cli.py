"""Words on the command line -> a verb. Imports nothing heavy, so that --help answers at once."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

from shendu import __version__, config
from shendu.errors import Interrupted, UserError, near

EXIT_USER, EXIT_SIGNAL = 2, 128


class Commands(click.Group):
    """Lists commands in the order of a working day, and names the near one for a word that is none."""

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        cmd.short_help = " ".join((cmd.help or "").partition("\n\n")[0].split())  # whole; click's own is cut to a line
        super().add_command(cmd, name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            raise UserError(f"unknown command '{args[0]}'{near(args[0], self.commands)}")
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="shendu")
def cli() -> None:
    """Shendu (深度): deep learning as one system. Train, evaluate, predict, report: the same words for every network."""


def add_options(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """One decorator out of several, in the order they are written."""

    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
DATA_DIR = click.option("--data-dir", metavar="DIR", help="Where known data sets are looked for (else $SHENDU_DATA).")
READING = add_options(
    click.option("--target", metavar="COLUMN", help="Table: the column to predict."),
    click.option("--time", metavar="COLUMN", help="Series: the column that orders the rows."),
    click.option("--horizon", type=int, metavar="N", help="Series: how many steps ahead to forecast."),
    click.option("--season", type=int, metavar="N", help="Series: after how many steps it repeats itself; 1: never."),
    click.option("--type", "types", multiple=True, metavar="COLUMN=KIND", help="Table: what a column is; repeatable."),
    click.option(
        "--task",
        metavar="classes|numbers|forecast|anomaly|text",
        help="What is to be learned, where it is inferred wrongly.",
    ),
    click.option(
        "--label-from", metavar="PATTERN", help="Files: where their names hold the label, like '{label}_*.wav'."
    ),
    click.option("--test-from", metavar="REGEX", help="Files: those whose names it finds are the test part."),
    click.option(
        "--split",
        metavar="0.2|0.2@SEED|2/5|last:N|classes:0.25",
        help="Which rows are the test part, where there is none.",
    ),
    click.option("--skip-bad", is_flag=True, default=None, help="Leave unreadable files and rows out, and count them."),
    click.option("--reader", metavar="NAME", help="Who reads it, where several could: pictures, tables, prose, …"),
)
DEVICE = click.option("--device", default="auto", metavar="auto|cpu|cuda|mps", help="Where to compute.")
PRECISION = click.option(
    "--precision", default="auto", metavar="auto|fp32|bf16", help="auto: bf16 where the hardware has it and it pays."
)
TRAINING = add_options(
    click.option("--epochs", type=float, help="Passes over the training rows."),
    click.option("--steps", type=int, help="Optimiser steps (instead of epochs)."),
    click.option("--batch-size", type=int, help="Rows per step; 0: all."),
    click.option("--lr", type=float, help="Learning rate."),
    click.option("--seed", type=int, help="Everything random follows from it (default 0)."),
    click.option(
        "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any other setting of the system; repeatable."
    ),
    DEVICE,
    PRECISION,
    click.option(
        "--compile", default="auto", metavar="auto|on|off", help="auto: a trial, where the time left pays for it."
    ),
    click.option("--time-limit", metavar="10m", help="A budget for the whole command; fewer steps where need be."),
    click.option("--on-nan", default="stop", metavar="stop|skip", help="What to do when the loss is not finite."),
    DATA_DIR,
    READING,
)


@cli.command("list")
@DATA_DIR
@AS_JSON
def list_(data_dir: str | None, as_json: bool) -> None:
    """Systems and data sets, one line each."""
    from shendu.verbs import listing

    found = {"systems": listing.list_systems(), "data": listing.list_data(data_dir)}
    if as_json:
        return emit(found)
    click.secho("systems", bold=True)
    table([[s["name"], s["family"], s["summary"]] for s in found["systems"]])
    click.secho("\ndata", bold=True)
    table([[d["name"], d["where"], d["summary"]] for d in found["data"]])
    return None


@cli.command()
@click.argument("given", metavar="DATA")
@click.option("--out", metavar="FILE", help="Also write the findings as a page: audit.html.")
@DATA_DIR
@READING
@AS_JSON
def audit(given: str, out: str | None, as_json: bool, **options: Any) -> None:
    """What is wrong with DATA: unreadable files, copies, leaks, odd columns, suspicious labels.

    \b
    shendu audit photos/
    shendu audit people.csv --target income --out audit.html
    """
    from shendu.verbs.audit import audit as verb

    found = verb(given, **{key: value for key, value in options.items() if value not in (None, ())})
    page = found.write(out) if out else None
    if as_json:
        return emit(found.to_json())
    click.echo(found.summary())
    table(found.lines())
    if page:
        click.echo(page)
    return None


@cli.command()
@click.argument("system", required=False)
@click.argument("data", required=False)
@TRAINING
@click.option("--out", metavar="DIR", help="The run folder itself (default: a dated folder under runs/).")
@click.option("--resume", is_flag=False, flag_value="exact", metavar="[RUN]",
              help="Continue RUN, or the run in --out; --resume=approximate where exact bytes are impossible.")  # fmt: skip
@click.option("--weights", metavar="FILE", help="Begin with these: a .safetensors file, a library's or a run's.")
@click.option("--quiet", is_flag=True, help="No progress, no table.")
@AS_JSON
def train(system: str | None, data: str | None, settings: tuple[str, ...], out: str | None, resume: str | None,
          weights: str | None, quiet: bool, as_json: bool, **options: Any) -> None:  # fmt: skip
    """Train SYSTEM on DATA (a name, or a path) into a run folder; without SYSTEM the one that suits the data.

    \b
    shendu train photos/
    shendu train people.csv --target income
    shendu train lenet mnist
    shendu train mlp digits --epochs 5 --set hidden=64,64
    shendu train resnet photos/ --weights resnet18.safetensors
    shendu train --resume runs/2026-11-22_lenet_mnist_1
    """
    from shendu.verbs.train import train as verb

    if resume and out and data is None and resume not in RESUMES and not os.path.exists(f"{resume}/recipe.json"):
        system, data, resume = resume, system, "exact"  # --out RUN --resume SYSTEM DATA: the word after it is no run
    how = True if resume == "exact" else resume or False
    run = verb(system, data, out=out, resume=how, weights=weights, quiet=quiet, **split_choices(options, settings))
    if as_json:
        emit(run.result)
    elif quiet:
        click.echo(run.path)


@cli.command("convert-weights")
@click.argument("file")
@click.option("--out", metavar="FILE", help="Where to (default: beside it, as .safetensors).")
def convert_weights(file: str, out: str | None) -> None:
    """Make a .safetensors of a torch FILE (.pth, .pt, .bin), for train --weights; nothing in it is run.

    \b
    shendu convert-weights resnet18.pth
    shendu train resnet photos/ --weights resnet18.safetensors
    """
    from shendu.verbs.convert_weights import convert_weights as verb

    click.echo(verb(file, out))


@cli.command()
@click.argument("run")
@click.argument("data", required=False)
@click.option("--part", default="test", help="Which part of the data: test, validation or train.")
@DEVICE
@PRECISION
@DATA_DIR
@READING
@AS_JSON
def evaluate(run: str, data: str | None, as_json: bool, **options: Any) -> None:
    """Figures of RUN on its test part, or on DATA."""
    from shendu.verbs.evaluate import evaluate as verb

    result = verb(run, data, **{key: value for key, value in options.items() if value not in (None, ())})
    if as_json:
        return emit(result)
    click.echo(f"{result['run']} on {result['data']} ({result['part']}, {result['rows']:,} rows)")
    sure = result["intervals"]
    table([
        ["metric", "figure", "95% interval"],
        *([name, f"{value:.4f}", "–".join(f"{end:.4f}" for end in sure.get(name, ()))] for name, value in result["metrics"].items()),
    ])  # fmt: skip
    for name, signature in result.get("signatures", {}).items():
        click.echo(f"{name}: {signature}")
    return None


@cli.command()
@click.argument("run")
@click.argument("inputs", nargs=-1)
@click.option("--out", metavar="FILE", help="Write all rows into a .csv, .jsonl or .parquet file.")
@DEVICE
@PRECISION
@AS_JSON
def predict(run: str, inputs: tuple[str, ...], out: str | None, as_json: bool, **options: Any) -> None:
    """What RUN says of INPUTS: picture, recording or text files, folders of them, tables, a text, .npy arrays.

    \b
    shendu predict runs/2026-11-22_tabm_people_1 new.csv --out predictions.csv
    shendu predict runs/2026-11-22_resnet_photos_1 cat.jpg holiday/
    """
    from shendu.verbs import predict as verb

    if out:
        path, rows = verb.write(run, *inputs, out=out, **options)
        click.echo(f"{rows:,} row{'s' * (rows != 1)} -> {path}")
        return None
    if as_json:
        return emit(verb.predict(run, *inputs, **options))
    shown: list[list[str]] = []
    count = 0
    for part in verb.predictions(run, *inputs, **options):
        shown += [words_of(row) for row in part[: max(0, ROWS_SHOWN - count)]]
        count += len(part)
    table([heads_of(part[0]), *shown])
    if count > len(shown):
        click.echo(f"… and {count - len(shown):,} more (--out predictions.csv writes all)")
    return None


def heads_of(row: dict[str, Any]) -> list[str]:
    """What stands above a prediction's cells."""
    if "label" in row:
        return ["input", "label", "probability"]
    return ["input", "value"] if row.keys() & {"value", "values"} else list(row)


def words_of(row: dict[str, Any]) -> list[str]:
    """A prediction as cells."""
    if "label" in row:
        return [row["input"], row["label"], f"{row['probability']:.4f}"]
    if "embedding" in row:
        return [row["input"], ", ".join(f"{v:.3f}" for v in row["embedding"][:6]) + ", …"]
    if not row.keys() & {"value", "values"}:
        return [
            f"{v:.6g}" if isinstance(v, float) else str(v).lower() if isinstance(v, bool) else v for v in row.values()
        ]
    return [row["input"], ", ".join(f"{value:.6g}" for value in row.get("values", [row.get("value")]))]


@cli.command()
@click.argument("run")
@click.option("--n", type=int, help="How many (pictures: 64, texts: 1).")
@click.option("--class", "label", metavar="NAME", help="The class to draw, where the model knows classes.")
@click.option("--seed", type=int, help="Equal seeds draw equal rows (default 0).")
@click.option("--out", metavar="FILE", help="A .png (sample.png), or a .gif that shows how they come about.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of the drawing; repeatable.")
@click.option("--inpaint", metavar="PICTURE", help="Diffusion: draw what is transparent in this file.")
@click.option("--prompt", metavar="TEXT", help="Text: what is written on.")
@click.option("--length", type=int, metavar="N", help="Text: tokens at most (default 500).")
@click.option("--temperature", type=float, metavar="T", help="Text: 0 the likeliest, 1 as learned (default 0.8).")
@click.option("--top-k", type=int, metavar="K", help="Text: only of the K likeliest tokens.")
@click.option("--top-p", type=float, metavar="P", help="Text: only of the likeliest that hold a share P together.")
@click.option("--stop", metavar="TEXT", help="Text: end before this.")
@DEVICE
def sample(run: str, settings: tuple[str, ...], **options: Any) -> None:
    """Let RUN draw new rows, or write on.

    \b
    shendu sample runs/2026-11-22_diffusion_mnist_1 --n 64 --class 7 --out sevens.png
    shendu sample runs/2026-11-22_rbm_mnist_1 --out chain.gif
    shendu sample runs/2026-11-22_gpt_tinyshakespeare_1 --prompt "ROMEO:" --length 300
    """
    from shendu.verbs import compose
    from shendu.verbs.opened import opened
    from shendu.verbs.sample import sample as draw

    found, how = opened(run), {key: value for key, value in options.items() if value is not None}
    more: dict[str, Any] = dict(config.parse_settings(settings))
    if not compose.writes(found) and how.keys().isdisjoint(compose.OPTIONS):
        click.echo(draw(found, **how, **more))
        return
    for key in ("label", "out", "inpaint", *(("set",) if settings else ())):
        if key in how or key == "set":
            raise UserError(f"--{key.replace('label', 'class')} is for models that draw pictures; leave it out")
    texts = compose.pieces(found, **how, say=lambda text: click.echo(text, err=True))
    write_on(texts, how.get("prompt", ""), how.get("n", 1))


@cli.command()
@click.argument("run")
@click.option("--judge", required=True, metavar="RUN", help="A classifier of such pictures, in whose features.")
@click.option("--n", type=int, default=10_000, help="How many pictures are drawn (10000).")
@click.option("--seed", type=int, default=0, help="Equal seeds draw equal rows (default 0).")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of the drawing; repeatable.")
@DEVICE
@DATA_DIR
@AS_JSON
def judge(run: str, settings: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """How good is what RUN draws: Fréchet distance, precision and recall, copies; into judge.json and judge.png.

    \b
    shendu train resnet9 mnist --out runs/judge
    shendu judge runs/2026-11-22_diffusion_mnist_1 --judge runs/judge
    """
    from shendu.verbs import judge as verb

    how: dict[str, Any] = {**options, **config.parse_settings(settings)}
    result = verb.judge(run, **how)
    if as_json:
        return emit(result)
    table(verb.lines(result))
    for note in result["notes"]:
        click.echo(note)
    click.echo(f"{result['run']}/judge.png")
    return None


def write_on(texts: Iterator[list[str]], prompt: str, n: int) -> None:
    """One text as it comes, several one after the other."""
    if n == 1:
        for i, (piece,) in enumerate(texts):
            click.echo((prompt if not i else "") + piece, nl=False)
        click.echo()
        return
    for i, parts in enumerate(zip(*texts, strict=True)):
        click.secho(f"{i + 1}", bold=True)
        click.echo(prompt + "".join(parts))


@cli.command()
@click.argument("run")
@click.argument("gallery")
@click.argument("name")
@click.argument("pictures", nargs=-1, required=True)
@DEVICE
@AS_JSON
def enrol(run: str, gallery: str, name: str, pictures: tuple[str, ...], device: str, as_json: bool) -> None:
    """Add PICTURES (files, folders) of NAME to GALLERY, as RUN sees them.

    \b
    shendu enrol runs/2026-11-22_face_orl-faces_1 office.safetensors Ann ann1.jpg ann2.jpg
    """
    from shendu.verbs.faces import enrol as verb

    done = verb(run, gallery, name, *pictures, device=device)
    if as_json:
        return emit(done)
    click.echo(f"{done['gallery']}: {name} by {done['pictures']}, {done['people']} in all")
    return None


@cli.command()
@click.argument("run")
@click.argument("first", metavar="PICTURE1")
@click.argument("second", metavar="PICTURE2")
@DEVICE
@AS_JSON
def verify(run: str, first: str, second: str, device: str, as_json: bool) -> None:
    """Whether RUN takes PICTURE1 and PICTURE2 for the same person (or class)."""
    from shendu.verbs.faces import verify as verb

    found = verb(run, first, second, device=device)
    if as_json:
        return emit(found)
    word = "same" if found["same"] else "different"
    click.echo(f"{word} (similarity {found['similarity']:.4f}, threshold {found['threshold']:.4f})")
    return None


@cli.command()
@click.argument("run")
@click.argument("gallery")
@click.argument("pictures", nargs=-1, required=True)
@DEVICE
@AS_JSON
def identify(run: str, gallery: str, pictures: tuple[str, ...], device: str, as_json: bool) -> None:
    """Who of GALLERY is on PICTURES (files, folders), as RUN sees it."""
    from shendu.verbs.faces import identify as verb

    found = verb(run, gallery, *pictures, device=device)
    if as_json:
        return emit(found)
    rows = [
        [row["input"], row["name"] or f"nobody (nearest: {row['nearest']})", f"{row['similarity']:.4f}"]
        for row in found
    ]
    table([["input", "who", "similarity"], *rows])
    return None


@cli.command()
@click.argument("run")
@DATA_DIR
def report(run: str, data_dir: str | None) -> None:
    """Write RUN's report.html anew: curves, confusion, worst mistakes, explanations."""
    from shendu.verbs.report import report as verb

    click.echo(verb(run, data_dir=data_dir))


@cli.command()
@click.argument("root", default="runs")
@AS_JSON
def runs(root: str, as_json: bool) -> None:
    """The runs under ROOT (default: runs/) with their figures."""
    from shendu.verbs.listing import list_runs

    found = list_runs(root)
    if as_json:
        return emit(found)
    rows = [["run", "system", "data", "figures", "seconds"]]
    for row in found:
        figures = " ".join(f"{k} {v:.4f}" for k, v in row.get("metrics", {}).items())
        shown = f"{row['part']}: {figures}" if figures else row["state"]
        rows.append(
            [
                row["run"],
                row.get("system", ""),
                row.get("data", ""),
                shown,
                f"{row['seconds']:.1f}" if "seconds" in row else "",
            ]
        )
    table(rows)
    return None


@cli.command()
@click.argument("runs", nargs=-1, required=True)
@click.option("--out", metavar="FILE", help="Also write a page (.html), or the plot alone (.png, .svg).")
@AS_JSON
def compare(runs: tuple[str, ...], out: str | None, as_json: bool) -> None:
    """RUNS beside each other: first figure, parameters, multiply-adds, speeds.

    \b
    shendu compare runs/*_cifar10_* --out compare.html
    """
    from shendu.verbs.compare import compare as verb

    found = verb(*runs)
    page = found.write(out) if out else None
    if as_json:
        return emit(found.to_json())
    table(found.table())
    for line in (*found.notes, *([page] if page else [])):
        click.echo(line)
    return None


@cli.command()
@click.argument("system")
@click.option("--on", "data", metavar="DATA", help="Only the references on this data.")
@click.option("--reference", type=int, metavar="N", help="Only the N-th reference in the system's file.")
@click.option("--seeds", type=int, default=1, help="How many seeds to average over.")
@click.option("--out", metavar="DIR", help="Where the runs are kept (continued if they exist).")
@click.option("--results", default="results", metavar="DIR", help="The ledger's folder.")
@DEVICE
@PRECISION
@DATA_DIR
@click.option("--quiet", is_flag=True)
@AS_JSON
def reproduce(system: str, as_json: bool, **options: Any) -> None:
    """Train SYSTEM's reference recipes and write the figures into the results ledger."""
    from shendu.verbs.reproduce import reproduce as verb

    entries = verb(system, **{k: v for k, v in options.items() if v is not None})
    if as_json:
        return emit(entries)
    rows = [["data", "metric", "figure", "target", "published", "seconds"]]
    for e in entries:
        published = "" if e["published"] is None else f"{e['published']:.4f}"
        rows.append(
            [e["data"], e["metric"], f"{e['figure']:.4f}", f"{e['target']:.4f}", published, f"{e['seconds']:.0f}"]
        )
    table(rows)
    return None


# ---- shared ----------------------------------------------------------------------------------------------------------

RESUMES = ("exact", "approximate")
ROWS_SHOWN = 20
"""Predictions that are printed; a file takes them all."""
ENGINE = ("device", "precision", "compile", "on_nan", "time_limit", "data_dir")


def split_choices(options: dict[str, Any], settings: tuple[str, ...]) -> dict[str, Any]:
    """Engine options, the system's own (those that were given), and --set's; a setting given twice is an error."""
    engine = {k: v for k, v in options.items() if k in ENGINE}
    given = {k: v for k, v in options.items() if k not in ENGINE and v not in (None, ())}
    named = config.parse_settings(settings)
    for key in named:
        if key in given:
            raise UserError(f"{key} is given twice: --{key.replace('_', '-')} and --set {key}=…; leave one out")
        if key in ENGINE:
            raise UserError(f"{key} is an option, not a setting; write it as --{key.replace('_', '-')} {named[key]}")
    return {**engine, **given, **named}


def emit(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def table(rows: list[list[str]]) -> None:
    """Columns padded to their widest word; the last one runs free."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        click.echo("  ".join([*cells, row[-1]]).rstrip())


def main() -> None:
    """Runs the command; a person's mistake is one line and exit code 2, a signal's code is 128 + its number."""
    try:
        cli.main(standalone_mode=False)
    except UserError as error:
        stop(str(error), EXIT_USER)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except Interrupted as why:
        stop(str(why), EXIT_SIGNAL + why.signal)
    except (click.Abort, KeyboardInterrupt):
        stop("stopped", EXIT_SIGNAL + 2)
    except click.ClickException as error:
        command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "shendu"
        stop(f"{error.format_message()} (see {command} --help)", EXIT_USER)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def stop(message: str, code: int) -> None:
    click.echo(f"shendu: {message}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
