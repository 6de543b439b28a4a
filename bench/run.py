"""Side by side with the peers: fresh processes, rounds interleaved (A B C A B C …), medians, one table.

    python bench/run.py                        all groups, reduced sizes, 5 rounds
    python bench/run.py --only lenet,resnet    some of: start loop lenet resnet mnist99
    python bench/run.py --full                 whole epochs and every example, 5 rounds (hours)
    python bench/run.py --smoke                tiny sizes, one round: does everything work? Writes no results
    python bench/run.py --table                docs/benchmarks.md anew from bench/results/

Data sets are read from $SHENDU_DATA (mnist/ and cifar10/ in their publishers' formats). Results go to
bench/results/<machine>.jsonl, one line per process. Leave the machine alone meanwhile: what other processes use is
measured around every run, and a disturbed run is recorded but not counted.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import environments
import machine
import table
from jobs import GROUPS, SIZES, Job, jobs

BENCH = Path(__file__).parent
RESULTS = BENCH / "results"
WORK = environments.HOME / "work"
TIMEOUT = 3600
MNIST99_ROUNDS = 1
"""Of a reduced run: the peers' examples take minutes each."""


def main() -> int:
    options = arguments()
    if options.table:
        table.write(RESULTS)
        return 0
    if not options.data or not (Path(options.data) / "mnist").is_dir():
        print("bench needs the data sets: SHENDU_DATA=/path/to/data (with mnist/ and cifar10/) python bench/run.py")
        return 2
    size = "smoke" if options.smoke else "full" if options.full else "reduced"
    chosen = jobs(tuple(options.only.split(",")), options.full or options.smoke)
    for environment in sorted({job.environment for job in chosen}):
        environments.ready(environment)
    WORK.mkdir(parents=True, exist_ok=True)
    about = machine.machine()
    results = WORK / "smoke.jsonl" if options.smoke else RESULTS / f"{machine.slug(about)}.jsonl"
    results.parent.mkdir(parents=True, exist_ok=True)
    run = {"run": datetime.datetime.now().isoformat(timespec="seconds"), "size": size, "commit": machine.commit()}
    if options.smoke:
        results.unlink(missing_ok=True)
    append(results, {**run, "machine": about, "sizes": SIZES[size]})
    failed = measure(chosen, rounds(options), size, results, run["run"], options)
    if options.smoke:
        print(table.markdown([results]))
        results.unlink()
    else:
        table.write(RESULTS)
    for name in sorted(failed):
        print(f"FAILED: {name} (see {WORK / (name.replace('/', '-') + '.log')})")
    return 1 if failed else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(GROUPS), help="groups, separated by commas")
    parser.add_argument("--peers", default="", help="names of jobs, separated by commas: only these")
    parser.add_argument("--rounds", type=int, default=0, help="5, but 1 for mnist99 unless --full or --only mnist99")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--data", default=os.environ.get("SHENDU_DATA", ""))
    options = parser.parse_args()
    for group in options.only.split(","):
        if group not in GROUPS:
            parser.error(f"--only {group}: known are {', '.join(GROUPS)}")
    return options


def rounds(options: argparse.Namespace) -> dict[str, int]:
    """Rounds of each group."""
    usual = 1 if options.smoke else options.rounds or 5
    few = options.rounds or MNIST99_ROUNDS
    return {group: few if group == "mnist99" and not options.full else usual for group in GROUPS}


def measure(
    chosen: list[Job], most: dict[str, int], size: str, results: Path, run: str, options: argparse.Namespace
) -> set[str]:
    """Every job once per round; returns the names of those that failed."""
    names = set(options.peers.split(",")) - {""}
    failed: set[str] = set()
    for group in GROUPS:
        here = [job for job in chosen if job.group == group and (not names or job.name in names)]
        for number in range(most[group]):
            for job in here:
                before = 0.0 if options.smoke else machine.wait_until_quiet(60)
                line = once(job, number, size, options.data)
                line.update(run=run, others_before=round(before, 3))
                line["counts"] = options.smoke or max(before, line["others"]) < machine.BUSY
                append(results, line)
                tell(line)
                if "error" in line:
                    failed.add(f"{job.group}/{job.name}")
    return failed


def once(job: Job, number: int, size: str, data: str) -> dict[str, Any]:
    """One fresh process; its JSON, its wall seconds, and what other processes used meanwhile."""
    began, watch = time.time(), machine.Watch()
    settings = {
        "SHENDU_DATA": str(Path(data).resolve()), "BENCH_ROUND": str(number), "BENCH_STARTED": repr(began), "HF_HUB_OFFLINE": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_HOME": str(environments.HOME / "keras"), **job.settings,
        **({"OMP_NUM_THREADS": "1"} if size == "smoke" else {}),
    }  # fmt: skip
    line: dict[str, Any] = {"group": job.group, "name": job.name, "label": job.label, "note": job.note, "round": number}
    try:
        done = subprocess.run(command(job, size), cwd=WORK, env={**os.environ, **settings}, capture_output=True, text=True,
                              timeout=TIMEOUT)  # fmt: skip
        output, code = done.stdout + done.stderr, done.returncode
    except subprocess.TimeoutExpired:
        output, code = "", -1
    line.update(
        wall_s=round(time.time() - began, 3), others=round(watch.others(), 3), date=datetime.date.today().isoformat()
    )
    (WORK / f"{job.group}-{job.name}.log").write_text(output)
    found = [text for text in output.splitlines() if text.startswith("RESULT ")]
    if found:
        line["result"] = json.loads(found[-1].removeprefix("RESULT "))
    elif code or job.script:
        line["error"] = (
            f"took more than {TIMEOUT} s" if code == -1 else (output.strip().splitlines() or ["no output"])[-1]
        )
    return line


def command(job: Job, size: str) -> list[str]:
    """The words of the process."""
    interpreter = environments.python(job.environment)
    if job.command:
        words = [word.replace("PEERS", str(BENCH / "peers")) for word in job.command[1:]]
        return [str(interpreter if job.command[0] == "python" else interpreter.parent / job.command[0]), *words]
    rows, epochs = SIZES[size][job.group]
    words = [job.variant] if job.group == "loop" else [job.group, *([job.variant] if job.variant else [])]
    return [str(interpreter), str(BENCH / job.script), *words, "--rows", str(rows), "--epochs", str(epochs)]


def append(path: Path, line: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def tell(line: dict[str, Any]) -> None:
    """One line for the person who waits."""
    result = line.get("result", {})
    keys = ("first_epoch_s", "epoch_s", "n", "seconds", "accuracy", "overhead_us", "overhead_percent", "loss")
    figures = {key: result[key] for key in keys if key in result} or {"wall_s": line["wall_s"]}
    verdict = (
        ""
        if line["counts"]
        else f"   NOT COUNTED: other processes used {max(line['others'], line['others_before']):.2f} cores"
    )
    print(
        f"{line['group']:8} {line['name']:26} round {line['round']} {line.get('error') or figures}{verdict}", flush=True
    )


if __name__ == "__main__":
    sys.exit(main())
