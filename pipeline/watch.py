"""How far a run is: one calm display beside the engine, made from the files that the stages leave.

Nothing tells it anything: a thread of the engine's process looks at the logs every few seconds. On a terminal it is a
line that stays in place (rich, which the command line needs anyhow) instead of the engine's lines on each job, which
are in its log; elsewhere a plain line now and then, between them.
"""

import atexit
import csv
import logging
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

EVERY_S, EVERY_PLAIN_S = 1.0, 30.0
ENGINE = "snakemake.logging"  # the name of the engine's logger
MOST = 20  # samples that something is said of before the work
SHOWN = 3  # infer jobs that are named
# Stages behind the picture, whose logs say nothing of a sample that is done.
_LAST = "draw"


def state(results: Path, samples: Iterable[str]) -> tuple[int, dict[str, tuple[str, str]]]:
    """(number of samples that are done, {sample at work: (its stage, the last line of its log)}).

    A sample whose last stage has ended, and whose next has not begun, is at work in "" (it waits).
    """
    done, at_work = 0, {}
    for name in samples:
        folder = Path(results) / name
        logs = [(log.stat().st_mtime_ns, log) for log in _logs(folder)]
        picture = folder / "overview.png"
        before = max((made for made, log in logs if log.stem != _LAST), default=0)
        if picture.exists() and picture.stat().st_mtime_ns >= before:
            done += 1
        elif logs:
            log = max(logs)[1]
            # The engine writes a job's time beside its log when it has ended well.
            time_of, made = log.with_suffix(".tsv"), log.stat().st_mtime_ns
            ended = time_of.exists() and time_of.stat().st_mtime_ns >= made
            at_work[name] = ("" if ended else log.stem, _last_line(log))
    return done, at_work


def _logs(folder: Path) -> list[Path]:
    return list((folder / "log").glob("*.txt"))


def _last_line(log: Path) -> str:
    with open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - 400))
        lines = file.read().decode("utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def doubts(table: Path) -> list[str]:
    """What `check` has found, a line a sample, of the table that it wrote; no more than MOST."""
    with open(table, encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["said"]]
    told = [f"check: {row['sample']}: {row['said']}" for row in rows[:MOST]]
    return told + ([f"check: {len(rows) - MOST} more in {table}"] if len(rows) > MOST else [])


def sentence(
    done: int,
    samples: int,
    at_work: dict[str, tuple[str, str]],
    *,
    seconds: float,
    before: int,
    failed: int = 0,
) -> str:
    """'3 of 12 samples, about 14 min left · infer a 45%  12,345 voxels/s  67 s left · 2 trace'.

    seconds: since the run began. before: samples that were done by then. failed: jobs.
    """
    words = f"{done} of {samples} samples" + (f", {failed} failed" if failed else "")
    if before < done < samples - failed:
        words += f", about {_duration(seconds / (done - before) * (samples - failed - done))} left"
    running = [
        f"infer {name} {line}"
        for name, (stage, line) in at_work.items()
        if stage == "infer" and "voxels/s" in line
    ]
    others = Counter(
        stage for stage, line in at_work.values() if stage and not (stage == "infer" and "voxels/s" in line)
    )
    parts = running[:SHOWN] + [f"{count} {stage}" for stage, count in others.items()]
    return " · ".join([words, *(re.sub(r"\s+", " ", part) for part in parts)])


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def start(results: Path, samples: Iterable[str]) -> Callable[[], None]:
    """Begin to watch; call what comes back to end it."""
    samples, began, ended = list(samples), time.monotonic(), threading.Event()
    before = state(results, samples)[0]

    failures = _Failures()
    engine = logging.getLogger(ENGINE)
    engine.addHandler(failures)

    def say() -> str:
        done, at_work = state(results, samples)
        at_work = {name: work for name, work in at_work.items() if not failures.of(name)}
        passed = time.monotonic() - began
        return sentence(done, len(samples), at_work, seconds=passed, before=before, failed=len(failures.logs))

    table = Path(results) / "check.tsv"
    old = table.stat().st_mtime_ns if table.exists() else 0
    show, close = _terminal() if sys.stderr.isatty() and find_spec("rich") else _plain()

    def watch() -> None:
        wait, told = EVERY_S, False
        while not ended.wait(wait):
            looked = time.monotonic()
            with suppress(OSError):  # a file went while it was looked at
                if not told and table.exists() and table.stat().st_mtime_ns > old:
                    told = True
                    print("".join(f"{line}\n" for line in doubts(table)), end="", file=sys.stderr, flush=True)
                show(say())
            wait = max(
                EVERY_S, 20 * (time.monotonic() - looked)
            )  # ten thousand samples are looked at less often

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()

    def stop() -> None:
        ended.set()
        thread.join()
        engine.removeHandler(failures)
        close()

    atexit.register(stop)  # however the engine ends, the terminal is left as it was
    return stop


class _Failures(logging.Handler):
    """The logs of the jobs that the engine calls failed."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.logs: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("Error in rule"):
            self.logs.update(str(log).split(" (")[0] for log in (getattr(record, "log", None) or ())[:1])

    def of(self, name: str) -> bool:
        """Whether a job of the sample is among them."""
        return any(Path(log).parent.parent.name == name for log in self.logs)


def _plain() -> tuple[Callable[[str], None], Callable[[], None]]:
    """A line when something has changed, at most every EVERY_PLAIN_S."""
    last: list = ["", time.monotonic()]  # what was told, and when

    def show(text: str) -> None:
        if text != last[0] and time.monotonic() - last[1] >= EVERY_PLAIN_S:
            print(text, file=sys.stderr, flush=True)
            last[:] = text, time.monotonic()

    return show, lambda: None


def _terminal() -> tuple[Callable[[str], None], Callable[[], None]]:
    """One line in place; what the engine says of single jobs is left to its log, its errors come above the line."""
    from rich.console import Console
    from rich.live import Live
    from rich.spinner import Spinner

    spinner = Spinner("dots")
    live = Live(spinner, console=Console(stderr=True), transient=True, refresh_per_second=4)
    handlers = [
        handler
        for handler in logging.getLogger(ENGINE).handlers
        if isinstance(handler, logging.StreamHandler) and handler.name == "DefaultStreamHandler"
    ]
    live.start()
    streams = [handler.stream for handler in handlers]
    for handler in handlers:
        handler.addFilter(_is_no_job)
        handler.stream = sys.stderr  # rich's, which writes above the line

    def close() -> None:
        live.stop()
        for handler, stream in zip(handlers, streams):
            handler.removeFilter(_is_no_job)
            handler.stream = stream

    return lambda text: spinner.update(text=text), close


def _is_no_job(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING
