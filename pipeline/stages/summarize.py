"""summarize: one table of all samples, the failed ones with their reason.

Also called by Snakemake's onerror handler (report_failure), in the engine's own process: nothing slow is
imported.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path

from pipeline import __version__
from pipeline.errors import InputError
from pipeline.files import format_table, write_json, write_text

# Stages that read what evaluate has written: their logs may be newer than the metrics.
AFTER_METRICS = ("evaluate", "draw", "summarize")
# Stages that make the volumes of an image, for all samples that share it.
OF_IMAGE = ("ingest", "tile", "infer", "stack", "segment", "agglomerate")
# What the engine says where Ctrl-C or a kill has ended the run, and what the table does.
STOPPED = ("Terminating processes on user request", "Will exit after finishing currently running jobs")
INTERRUPTED = "stopped before it was finished; the same command goes on"
# The reason of a sample that is ok but has an empty tree.
EMPTY = "empty: no neurite found"


def run(results: Path, samples: Path, table: Path, output: Path) -> None:
    """Gather the metrics of all samples in one table.

    Args:
        results: folder with one folder a sample.
        samples: JSON, sample: the sample whose folder holds its volumes; the rows come in this order.
        table: TSV to write: sample, status (ok | warning | failed), reason, then one column a metric; in a run that was
            stopped interrupted too.
        output: JSON to write: version, number of samples, names of the failed ones, of those with a warning and of
            those without a neurite.
    """
    rows = [row(results / name, results / owner) for name, owner in _read_volumes(samples).items()]
    write_text(table, format_table(rows))
    failed = [entry["sample"] for entry in rows if entry["status"] == "failed"]
    warned = [entry["sample"] for entry in rows if entry["status"] == "warning"]
    empty = [entry["sample"] for entry in rows if entry["reason"] == EMPTY]
    told = {"failed": failed, "warned": warned, "empty": empty}
    write_json(output, {"version": __version__, "samples": len(rows), **told})
    print(
        f"{table}: {len(rows)} samples, {', '.join(f'{len(names)} {kind}' for kind, names in told.items())}"
    )


def report_failure(
    results: Path,
    volumes: dict[str, str],
    table: Path,
    output: Path,
    *,
    engine_logs: Iterable[Path | str] = (),
) -> list[str]:
    """After a failed run: write the table with what there is, and return "sample: reason" of the failed ones.

    engine_logs: of the run; where they say that the user has stopped it, samples at work are interrupted, not failed.

    `output` (run.json) is deleted: were it left, the next run would find the table newer than its inputs and
    call everything done.
    """
    rows = [row(Path(results) / name, Path(results) / owner) for name, owner in volumes.items()]
    failed_logs = _failed_before_a_stop(engine_logs)
    if failed_logs is not None:
        for entry, (name, owner) in zip(rows, volumes.items()):
            logs = {str(log) for log in _logs(Path(results) / name, Path(results) / owner)}
            if entry["status"] == "failed" and not logs & failed_logs:
                entry |= {"status": "interrupted", "reason": INTERRUPTED}
    write_text(table, format_table(rows))
    Path(output).unlink(missing_ok=True)
    return [f"{entry['sample']}: {entry['reason']}" for entry in rows if entry["status"] == "failed"]


def _failed_before_a_stop(engine_logs: Iterable[Path | str]) -> set[str] | None:
    """Logs of the jobs that had failed when the user stopped the run; None where nobody has."""
    paths = [path for path in map(Path, engine_logs) if path.exists()]
    text = "".join(path.read_text(encoding="utf-8", errors="replace") for path in paths)
    found = [text.find(words) for words in STOPPED if words in text]
    if not found:
        return None
    errors = re.findall(
        r"^Error in rule .*\n(?:    .*\n)*?    log: (.*?)(?: \(check log|$)", text[: min(found)], re.M
    )
    return set(errors)


def row(folder: Path, volumes: Path) -> dict[str, object]:
    """One sample: its name, status and reason, and its metrics as far as they belong to its present tree.

    A sample is ok when tree, metrics and picture are there and no earlier stage has run since the metrics were
    made (a stage that fails leaves the files of the stages after it as they were). Where a stage has warned, or
    no node was found, that is its status. volumes: the folder of the sample whose image it shares, its own where it
    shares none.
    """
    logs = _logs(folder, volumes)
    name, metrics = folder.name, folder / "metrics.json"
    values: dict[str, object] = {}
    if metrics.exists() and not _is_stale(metrics, logs):
        try:
            values = json.loads(metrics.read_text(encoding="utf-8"))
            # Why a metric is undefined stays in the JSON: a column for it would come and go.
            values = {key: value for key, value in values.items() if not key.endswith("_reason")}
        except ValueError as error:
            return {"sample": name, "status": "failed", "reason": f"metrics.json: {error}"}
    tree = (folder / f"{name}.swc").exists() or (folder / "trees").exists()
    complete = values and tree and (folder / "overview.png").exists()
    state = ("failed", last_words(logs))
    if complete:
        empty = values.get("nodes") == 0
        state = ("warning" if empty or values.get("warnings") else "ok", EMPTY if empty else "")
    return {"sample": name, "status": state[0], "reason": state[1], **values}


def _logs(folder: Path, volumes: Path) -> list[Path]:
    """The logs of a sample, by name; of the sample whose image it shares those of the stages that serve both."""
    logs = sorted((folder / "log").glob("*.txt"))
    if volumes != folder:
        logs += [log for log in sorted((volumes / "log").glob("*.txt")) if log.stem in OF_IMAGE]
    return logs


def _is_stale(metrics: Path, logs: list[Path]) -> bool:
    made = metrics.stat().st_mtime_ns
    return any(log.stat().st_mtime_ns > made for log in logs if log.stem not in AFTER_METRICS)


def last_words(logs: list[Path]) -> str:
    """'stage: the last line' of the newest of some logs that says anything."""
    found = [(log.stat().st_mtime_ns, log) for log in logs if log.stat().st_size]
    for _, log in sorted(found, reverse=True):
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
        said = [line.split("\r")[-1].strip() for line in lines if line.strip()]
        if said:
            return f"{log.stem}: {' '.join(said[-1].split())}"
    return "not finished, and no log says why"


def _read_volumes(samples: Path) -> dict[str, str]:
    try:
        volumes = json.loads(samples.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(samples, f"not readable ({error})", "JSON, sample: sample of its volumes") from error
    if not isinstance(volumes, dict) or not all(isinstance(name, str) for name in volumes.values()):
        raise InputError(samples, "something else", "JSON, sample: sample of its volumes")
    if not volumes:
        raise InputError(samples, "no sample: the dataset has no image", "at least one sample")
    return volumes
