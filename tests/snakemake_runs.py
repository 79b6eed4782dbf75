"""Runs of Snakemake for the tests: commands, plans as tables, what a run left behind."""

import csv
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from conftest import ROOT

VOXEL_SIZE = (1.0, 0.5, 0.5)
DENSE = ("ingest", "tile", "infer", "stack", "agglomerate", "skeletonize", "evaluate_cells", "draw_cells")
PER_SAMPLE = ("ingest", "tile", "infer", "stack", "segment", "trace", "evaluate", "draw")


def command(folder: Path, *arguments: str, config: dict) -> list[str]:
    """The words of a run of this repository's Snakefile in `folder` on two cores."""
    pairs = [
        f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in config.items()
    ]
    snakemake = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    return [*snakemake, "--directory", str(folder), "--cores", "2", *arguments, "--config", *pairs]


def environment(**more: str) -> dict[str, str]:
    """That of these tests, with this Python and this repository first, and `more`."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **more}


def snakemake(folder: Path, *arguments: str, config: dict, **more: str) -> tuple[int, str]:
    """Exit status and everything said of a run in `folder`."""
    done = subprocess.run(
        command(folder, *arguments, config=config),
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    return done.returncode, done.stdout


def planned(folder: Path, *arguments: str, config: dict, **more: str) -> dict[str, int]:
    """{rule: number of jobs} of a dry run."""
    status, said = snakemake(folder, "--dry-run", *arguments, config=config, **more)
    assert status == 0, said
    if "Nothing to be done" in said:
        return {}
    table = said.rsplit("Job stats:", 1)[1].split("\n\n")[0]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, flags=re.MULTILINE)}


def killed(folder: Path, *, config: dict, by: int, **how) -> subprocess.Popen:
    """A silent run in `folder` that got the signal `by`, all of its processes, once infer runs. how: of Popen."""
    running = subprocess.Popen(
        command(folder, config=config),
        env=environment(),
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        **how,
    )
    until = time.monotonic() + 300
    while not list(folder.glob("results/*/log/infer.txt")) and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(running.pid, by)
    return running


def counts(samples: int, **more: int) -> dict[str, int]:
    """{rule: number of jobs} of a run over so many samples of light microscopy; `more` replaces some."""
    once = {"check": 1, "summarize": 1, "all": 1, "total": 8 * samples + 3}
    return {**dict.fromkeys(PER_SAMPLE, samples), **once, **more}


def simulated(samples: int) -> dict[str, int]:
    """The jobs of the example, which needs no check."""
    jobs = counts(samples, simulate=1)
    del jobs["check"]
    return jobs


def read_table(path: Path) -> dict[str, dict[str, str]]:
    """The rows of a table (metrics.tsv) by their sample."""
    with open(path, encoding="utf-8") as file:
        return {row["sample"]: row for row in csv.DictReader(file, delimiter="\t")}
