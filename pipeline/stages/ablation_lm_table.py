"""ablation_lm_table: the scores of the ablation of light microscopy in one table, and their picture."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np

from pipeline.files import format_table, whole, write_text

SCORES = ("dice", "dice_class_mean", "hd95_um", "f1", "esa_um")
# What is asked about, and what makes two rows comparable: the same images learnt from and scored, the same depth.
KIND = ("start", "transfer")
SAME = ("stacks", "depth", "tested_on")
BASE = "scratch"


def run(scores: list[Path], /, *, output: Path) -> None:
    """Gather what ablation_lm_score wrote: mean, spread, and differences to scratch.

    Args:
        scores: TSV files.
        output: TSV, a row for each kind of training and each image that was scored, and for the mean over images: of
            each score mean and spread (largest less smallest) over seeds, and the differences to scratch of the same
            seed. Beside it a picture (.png): the scores against the number of stacks.
    """
    rows = [row for path in scores for row in _read(path)]
    table = summary(rows)
    write_text(output, format_table(table))
    draw(table, output.with_suffix(".png"))
    print(f"{output}: {len(table)} rows of {len(scores)} trainings")


def summary(rows: list[dict[str, str]]) -> list[dict[str, object]]:
    """Rows of scores -> rows of kinds: for each score its mean over seeds, its spread (largest less smallest), and the
    mean, least and largest difference to scratch of the same seed."""
    rows = rows + _means(rows)
    kinds: dict[tuple[str, ...], dict[str, dict[str, str]]] = {}
    for row in rows:
        kinds.setdefault(tuple(row[name] for name in (*KIND, *SAME)), {})[row["seed"]] = row
    table = []
    bases = {kind[2:]: seeds for kind, seeds in kinds.items() if kind[1] == BASE}
    for kind, seeds in sorted(kinds.items(), key=lambda item: (*_order(item[0]), item[0])):
        base = bases.get(kind[2:], {}) if kind[1] != BASE else {}
        some = next(iter(seeds.values()))
        told: dict[str, object] = {
            **dict(zip((*KIND, *SAME), kind)),
            "steps": some["steps"],
            "parameters": some["parameters"],
            "seconds": float(np.mean([float(row["seconds"]) for row in seeds.values()])),
            "seeds": len(seeds),
        }
        for name in SCORES:
            values = np.array([float(row[name] or "nan") for row in seeds.values()])
            told |= {
                name: _mean(values),
                f"{name}_spread": float(np.ptp(values)) if len(values) else float("nan"),
            }
            pairs = [
                float(row[name] or "nan") - float(base[seed][name] or "nan")
                for seed, row in seeds.items()
                if seed in base
            ]
            gains = np.array(pairs or [float("nan")])
            told |= {
                f"{name}_gain": _mean(gains),
                f"{name}_gain_least": float(gains.min()),
                f"{name}_gain_most": float(gains.max()),
            }
        table.append(told)
    return table


def draw(table: list[dict[str, object]], output: Path) -> None:
    """A panel for each of three scores, where there are any: mean over the images against the number of stacks."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [row for row in table if row["tested_on"] == "mean"]
    shown = [
        name for name in ("dice", "hd95_um", "f1") if any(np.isfinite(float(str(row[name]))) for row in rows)
    ]
    usual, first = (
        Counter(str(row[name]) for row in rows).most_common(1)[0][0] for name in ("depth", "start")
    )
    figure = Figure(figsize=(3.4 * max(len(shown), 1), 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, name in zip(figure.subplots(1, max(len(shown), 1), squeeze=False)[0], shown):
        for start, transfer in dict.fromkeys((row["start"], row["transfer"]) for row in rows):
            line = [
                row
                for row in rows
                if (row["start"], row["transfer"], row["depth"]) == (start, transfer, usual)
            ]
            line.sort(key=lambda row: int(str(row["stacks"])))
            label = transfer if start == first else f"{transfer}, {start}"
            at = [int(str(row["stacks"])) for row in line]
            half = [float(str(row[f"{name}_spread"])) / 2 for row in line]
            mean = [float(str(row[name])) for row in line]
            axis.errorbar(at, mean, yerr=half, label=label, marker="o", capsize=3)
        axis.set(
            xlabel="stacks trained on", title=name, xticks=sorted({int(str(row["stacks"])) for row in rows})
        )
    figure.axes[0].legend(fontsize=8)
    with whole(output) as private:
        figure.savefig(private, format="png", dpi=100, metadata={"Software": None})


def _read(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def _means(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """For each training a row "mean" over the images that it was scored on."""
    trainings: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in rows:
        trainings.setdefault(tuple(row[name] for name in (*KIND, "stacks", "depth", "seed")), []).append(row)
    return [
        {
            **some[0],
            "tested_on": "mean",
            **{name: repr(float(np.mean([float(row[name] or "nan") for row in some]))) for name in SCORES},
        }
        for some in trainings.values()
    ]


def _mean(values: np.ndarray) -> float:
    return float(values.mean())


def _order(kind: tuple[str, ...]) -> tuple[bool, int, int]:
    """The mean over images first, then few stacks before many, shallow before deep."""
    _, _, stacks, depth, tested_on = kind
    return tested_on != "mean", int(stacks), int(depth)
