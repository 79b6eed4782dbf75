"""ablation_table: the scores of many trainings in one table."""

import csv
from pathlib import Path

from pipeline.files import format_table, write_text

SCORES = ("vi", "vi_split", "vi_merge", "are")
LEFT_OUT = ("seed", "beta", *SCORES)


def run(scores: list[Path], /, *, output: Path) -> None:
    """Gather what ablation_score wrote: a row a kind of training, mean and spread over seeds.

    Args:
        scores: TSV files.
        output: TSV: what ablation_score says of a training and a test, how many seeds, the mean of each score and
            its spread (largest less smallest).
    """
    kinds: dict[tuple[tuple[str, str], ...], list[dict[str, str]]] = {}
    for path in scores:
        with open(path, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                kind = tuple((name, value) for name, value in row.items() if name not in LEFT_OUT)
                kinds.setdefault(kind, []).append(row)
    table = [{**dict(kind), "seeds": len(rows), **_spread(rows)} for kind, rows in sorted(kinds.items())]
    write_text(output, format_table(table))
    print(f"{output}: {len(table)} kinds of {len(scores)} trainings")


def _spread(rows: list[dict[str, str]]) -> dict[str, float]:
    told: dict[str, float] = {}
    for name in SCORES:
        values = [float(row[name]) for row in rows]
        told |= {name: sum(values) / len(values), f"{name}_spread": max(values) - min(values)}
    return told
