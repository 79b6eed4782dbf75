"""One stage as a process of its own: how long it took and how much memory it held at most."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Usage:
    """Wall-clock seconds and the peak resident memory (MB) of a process and the processes it waited for."""

    seconds: float
    peak_mb: float


def run_stage(stage: str, *arguments: object) -> Usage:
    """Run `python -m pipeline STAGE ARGUMENTS...`; its output goes to stderr. Ends this program if it fails."""
    command = [sys.executable, "-m", "pipeline", stage, *map(str, arguments)]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=sys.stderr)
    # wait4 gives the figures of this child alone; getrusage(RUSAGE_CHILDREN) keeps the largest of all so far.
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)}: exit status {process.returncode}")
    kilobytes = usage.ru_maxrss / 1024 if sys.platform == "darwin" else usage.ru_maxrss
    return Usage(seconds, kilobytes / 1024)


def print_table(rows: dict[str, Usage]) -> None:
    """Print seconds and peak MB of each stage, and of all."""
    whole = Usage(sum(row.seconds for row in rows.values()), max(row.peak_mb for row in rows.values()))
    print("stage\tseconds\tpeak MB")
    for stage, usage in (rows | {"all": whole}).items():
        print(stage, f"{usage.seconds:.1f}", f"{usage.peak_mb:.0f}", sep="\t")
