"""Fit what makes a branch right, and how far the probability can be trusted: run again with new weights.

python benchmarks/confidence.py diadem_op=RESULTS [--train OP_1,...] [--validate OP_7,...] [--scenes 20]

DATASET=RESULTS: a dataset and the results of a run over it with the weights. Writes lm.confidence.json beside the
weights and prints the table of docs/tracing.md: of the cable that is called so sure, how much lies within 3 um of the
reference. Simulated scenes go through all stages in memory; they know all their neurites.
"""

import json
from pathlib import Path
from typing import Annotated

import cyclopts
import numpy as np
from scipy.spatial import cKDTree
from simulated import WEIGHTS, quiet, seen

from pipeline import config, dataset, swc, volume
from pipeline.neurons import Neuron
from pipeline.picture import cut_edges
from pipeline.simulation import random_scene, random_voxel_size
from pipeline.swc import Tree
from pipeline.tracing import confidence, neuron
from pipeline.tracing.field import Field

SCENE_ZYX = (40, 256, 256)
Rows = tuple[np.ndarray, np.ndarray, np.ndarray]


def main(
    *folders: Annotated[str, cyclopts.Parameter(help="DATASET=RESULTS")],
    train: str = "OP_1,OP_2,OP_4,OP_5",
    validate: str = "OP_7,OP_8,frog_245",
    scenes: int = 20,
    weights: Path = WEIGHTS,
    output: Path = confidence.FITTED,
) -> None:
    """Fit, write, and print reliability and expected calibration error of both groups."""
    known: dict[str, Rows] = {}
    for pair in folders:
        data, results = map(Path, pair.split("="))
        for sample in dataset.discover(data):
            if sample.name in (*train.split(","), *validate.split(",")):
                known[sample.name] = of_sample(sample, results / sample.name)
    simulated = [rows for number in range(scenes) if (rows := of_scene(number, weights)) is not None]
    fitted_on = [known[name] for name in train.split(",") if name in known] + simulated
    made, right, um = (np.concatenate(part) for part in zip(*fitted_on))
    found = confidence.fit(made, right, um)
    output.write_text(json.dumps({"coefficients": found}, indent=1) + "\n", encoding="utf-8")
    print(f"{output}: {found}")
    show("fitted on", fitted_on, found)
    for name in validate.split(","):
        if name in known:
            show(name, [known[name]], found)
    show("validation", [known[name] for name in validate.split(",") if name in known], found)


def of_sample(sample: dataset.Sample, result: Path) -> Rows:
    """Features, right or not, and um of each edge of a sample's tree."""
    image, certain, labels = (
        volume.open_volume(result / name) for name in ("image.zarr", "prediction.zarr", "labels.zarr")
    )
    light = volume.read_light(result / "image.zarr", shape=image.shape)
    field = Field(certain.channel("neurite"), image.voxel_size, light)
    root = sample.root and sample.root[::-1]
    found = neuron.trace(labels.array[:], field, config.Trace(), root_zyx=root).neurons
    reference = swc.read(sample.reference, unit=sample.reference_unit, voxel_size=image.voxel_size)
    return of_neurons(found, reference, field)


def of_scene(number: int, weights: Path) -> Rows | None:
    """The same of all trees of a simulated scene; None where nothing is traced."""
    rng = np.random.default_rng([number, 80])
    voxel_size = random_voxel_size(rng)
    image, trees = random_scene(rng, shape_zyx=SCENE_ZYX, voxel_size=voxel_size)
    view = quiet(seen, image, voxel_size, weights)
    settings = config.Trace(neurons="all", min_length_um=5)
    found = neuron.trace(view.labels, view.field, settings).neurons
    return of_neurons(found, swc.joined(trees), view.field) if found else None


def of_neurons(found: list[Neuron], reference: Tree, field: Field) -> Rows:
    """Features (n, k), right or not (n,) and um (n,) of each edge of the trees that were found."""
    wanted = cKDTree(cut_edges(reference).mean(1))
    rows = []
    for each in found:
        tree = each.tree
        above = tree.xyz[np.where(tree.parent >= 0, tree.parent, np.arange(len(tree)))]
        right = wanted.query((tree.xyz + above) / 2)[0] <= confidence.RIGHT_UM
        made = confidence.features(tree, each.probability, each.link_cost, field)
        rows.append((made, right, swc.edge_lengths(tree)))
    made, right, um = (np.concatenate(part) for part in zip(*rows))
    return made, right, um


def show(title: str, rows: list[Rows], found: dict[str, float]) -> None:
    """Print the reliability table of some rows under the fitted coefficients."""
    if not rows:
        return
    made, right, um = (np.concatenate(part) for part in zip(*rows))
    table = confidence.reliability(confidence.probability(made, found), right, um)
    print(f"\n{title}: expected calibration error {confidence.calibration_error(table):.3f}\n")
    print("| um of cable | called | right |\n|---|---|---|")
    for row in table:
        print(f"| {row['um']:.0f} | {row['said']:.2f} | {row['right']:.2f} |")


if __name__ == "__main__":
    cyclopts.run(main)
