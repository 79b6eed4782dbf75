"""ablation_lm_table: the scores of the ablation of light microscopy in one table, and their picture."""

import csv
from pathlib import Path

import numpy as np

from pipeline.files import format_table, whole, write_text

SCORES = ("dice", "dice_class_mean", "hd95_um", "f1", "esa_um")
# What makes two rows comparable, beside what is asked about: the same images learnt from and scored, the same depth.
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
        kinds.setdefault((row["transfer"], *(row[name] for name in SAME)), {})[row["seed"]] = row
    table = []
    for kind, seeds in sorted(kinds.items(), key=lambda item: (*_order(item[0]), item[0])):
        base = kinds.get((BASE, *kind[1:]), {})
        some = next(iter(seeds.values()))
        told: dict[str, object] = {
            "transfer": kind[0],
            **dict(zip(SAME, kind[1:])),
            "steps": some["steps"],
            "parameters": some["parameters"],
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
                if seed in base and kind[0] != BASE
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
    """A panel for each of three scores: mean over the images against the number of stacks, a line a transfer."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = ("dice", "hd95_um", "f1")
    rows = [row for row in table if row["tested_on"] == "mean"]
    usual = max(
        (str(row["depth"]) for row in rows), key=lambda depth: sum(row["depth"] == depth for row in rows)
    )
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, name in zip(figure.subplots(1, len(shown)), shown):
        for transfer in dict.fromkeys(str(row["transfer"]) for row in rows):
            line = [row for row in rows if (row["transfer"], row["depth"]) == (transfer, usual)]
            line.sort(key=lambda row: int(str(row["stacks"])))
            at = [int(str(row["stacks"])) for row in line]
            half = [float(str(row[f"{name}_spread"])) / 2 for row in line]
            axis.errorbar(
                at, [float(str(row[name])) for row in line], yerr=half, label=transfer, marker="o", capsize=3
            )
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
        trainings.setdefault((row["transfer"], row["stacks"], row["depth"], row["seed"]), []).append(row)
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
    _, stacks, depth, tested_on = kind
    return tested_on != "mean", int(stacks), int(depth)
