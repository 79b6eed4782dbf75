"""summarize: one table of all samples, the failed ones with their reason.

Also called by Snakemake's onerror handler (report_failure), in the engine's own process: nothing slow is
imported.
"""

import json
from pathlib import Path

from pipeline import __version__
from pipeline.errors import InputError
from pipeline.files import format_table, write_json, write_text

# Stages that read what evaluate has written: their logs may be newer than the metrics.
AFTER_METRICS = ("evaluate", "draw", "summarize")
# The reason of a sample that is ok but has an empty tree.
EMPTY = "empty: no neurite found"


def run(results: Path, samples: Path, table: Path, output: Path) -> None:
    """Gather the metrics of all samples in one table.

    Args:
        results: folder with one folder a sample.
        samples: JSON list of the samples' names; the rows come in this order.
        table: TSV to write: sample, status (ok | failed), reason, then one column a metric.
        output: JSON to write: version, number of samples, names of the failed ones and of those without a neurite.
    """
    names = _read_names(samples)
    rows = [row(results / name) for name in names]
    write_text(table, format_table(rows))
    failed = [entry["sample"] for entry in rows if entry["status"] != "ok"]
    empty = [entry["sample"] for entry in rows if entry["reason"] == EMPTY]
    write_json(output, {"version": __version__, "samples": len(rows), "failed": failed, "empty": empty})
    print(f"{table}: {len(rows)} samples, {len(failed)} failed, {len(empty)} without a neurite")


def report_failure(results: Path, names: list[str], table: Path, output: Path) -> list[str]:
    """After a failed run: write the table with what there is, and return "sample: reason" of the failed ones.

    `output` (run.json) is deleted: were it left, the next run would find the table newer than its inputs and
    call everything done.
    """
    rows = [row(Path(results) / name) for name in names]
    write_text(table, format_table(rows))
    Path(output).unlink(missing_ok=True)
    return [f"{entry['sample']}: {entry['reason']}" for entry in rows if entry["status"] != "ok"]


def row(folder: Path) -> dict[str, object]:
    """One sample: its name, status and reason, and its metrics as far as they belong to its present tree.

    A sample is ok when tree, metrics and picture are there and no earlier stage has run since the metrics were
    made (a stage that fails leaves the files of the stages after it as they were). It is ok without a node, too, and
    says so as its reason.
    """
    name, metrics = folder.name, folder / "metrics.json"
    values: dict[str, object] = {}
    if metrics.exists() and not _is_stale(metrics, folder / "log"):
        try:
            values = json.loads(metrics.read_text(encoding="utf-8"))
            # Why a metric is undefined stays in the JSON: a column for it would come and go.
            values = {key: value for key, value in values.items() if not key.endswith("_reason")}
        except ValueError as error:
            return {"sample": name, "status": "failed", "reason": f"metrics.json: {error}"}
    complete = values and (folder / f"{name}.swc").exists() and (folder / "overview.png").exists()
    state = ("failed", last_words(folder / "log"))
    if complete:
        state = ("ok", EMPTY if values.get("nodes") == 0 else "")
    return {"sample": name, "status": state[0], "reason": state[1], **values}


def _is_stale(metrics: Path, logs: Path) -> bool:
    made = metrics.stat().st_mtime_ns
    return any(log.stat().st_mtime_ns > made for log in logs.glob("*.txt") if log.stem not in AFTER_METRICS)


def last_words(logs: Path) -> str:
    """'stage: the last line' of the newest log in a folder that says anything."""
    found = [(log.stat().st_mtime_ns, log) for log in sorted(logs.glob("*.txt")) if log.stat().st_size]
    for _, log in sorted(found, reverse=True):
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
        said = [line.split("\r")[-1].strip() for line in lines if line.strip()]
        if said:
            return f"{log.stem}: {' '.join(said[-1].split())}"
    return "not finished, and no log says why"


def _read_names(samples: Path) -> list[str]:
    try:
        names = json.loads(samples.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(samples, f"not readable ({error})", "a JSON list of sample names") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(samples, "something else", "a JSON list of sample names")
    if not names:
        raise InputError(samples, "no sample: the dataset has no image", "at least one sample name")
    return names
