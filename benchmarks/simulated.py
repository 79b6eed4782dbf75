"""Simulated views through all stages: is every soma found, are two neurons that touch told apart?

python benchmarks/simulated.py pairs [--count 20] [--seed 1]
python benchmarks/simulated.py somata [--count 20] [--seed 1]

Each view has its own numbers of the seed. How two neurons are told apart was chosen on seeds 0 and 2 to 7.
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cyclopts
import numpy as np
import tifffile
from scipy.optimize import linear_sum_assignment

from pipeline import config, swc, volume
from pipeline.metrics import compare
from pipeline.simulation.views import PAIR_UM, soma_view, two_neurons
from pipeline.stages import infer, ingest, segment, stack, tile
from pipeline.swc import Tree
from pipeline.tracing import neuron
from pipeline.tracing.field import Field

WEIGHTS = Path(__file__).parents[1] / "pipeline" / "weights" / "lm.safetensors"
TOLERANCE_UM = 1.5
app = cyclopts.App()


@dataclass(frozen=True, eq=False)
class Seen:
    """What trace reads of a view: labels and field."""

    labels: np.ndarray
    field: Field


def seen(image: np.ndarray, voxel_size: tuple[float, float, float], weights: Path = WEIGHTS) -> Seen:
    """An image (z, y, x) through ingest, tile, infer, stack and segment with their default settings."""
    with tempfile.TemporaryDirectory() as folder:
        names = ("view.tif", "image.zarr", "plan.json", "blocks", "prediction.zarr", "labels.zarr")
        tiff, made, plan, blocks, prediction, labels = (Path(folder) / name for name in names)
        tifffile.imwrite(tiff, image, photometric="minisblack")
        ingest.run(tiff, made, voxel_size=",".join(map(repr, voxel_size)))
        tile.run(made, weights, plan)
        infer.run(made, plan, weights, blocks)
        stack.run(made, plan, blocks, prediction)
        segment.run(prediction, labels, image=made)
        light = volume.read_light(made, shape=image.shape)
        probability = volume.open_volume(prediction).channel("neurite")
        return Seen(volume.open_volume(labels).array[:], Field(probability, voxel_size, light))


def within(tree: Tree, shape: tuple[int, ...], voxel_size: tuple[float, float, float]) -> Tree:
    """What of a tree lies in a volume."""
    place = swc.um_to_voxel(tree.xyz, voxel_size)
    return swc.take(tree, np.flatnonzero(((place >= -0.5) & (place <= np.array(shape) - 0.5)).all(1)))


def f1(tree: Tree, reference: Tree) -> float:
    """By length, at TOLERANCE_UM."""
    if not swc.cable_length(tree) or not swc.cable_length(reference):
        return 0.0
    one, two = compare.Measured(tree), compare.Measured(reference)
    found = compare.found_length(one, two, tolerance_um=TOLERANCE_UM) / swc.cable_length(reference)
    right = compare.found_length(two, one, tolerance_um=TOLERANCE_UM) / swc.cable_length(tree)
    return 2 * found * right / max(found + right, 1e-9)


def best_f1(trees: list[Tree], references: list[Tree]) -> list[float]:
    """F1 of each reference with the tree that is its own: no tree is that of two references."""
    table = np.array([[f1(tree, each) for tree in trees] for each in references]).reshape(len(references), -1)
    scores = np.zeros(len(references))
    rows, columns = linear_sum_assignment(-table)
    scores[rows] = table[rows, columns]
    return scores.tolist()


@app.command
def pairs(*, count: int = 20, seed: int = 1, weights: Path = WEIGHTS) -> None:
    """Two neurons that cross and touch, with `neurons: all`: a row a pair."""
    all_scores = []
    print("pair\tF1 of one\tF1 of the other\ttrees", flush=True)
    for number in range(count):
        image, trees = two_neurons(np.random.default_rng([seed, number, 77]))
        view = quiet(seen, image, PAIR_UM, weights)
        made = neuron.trace(view.labels, view.field, config.Trace(neurons="all")).neurons
        wanted = [within(tree, image.shape, PAIR_UM) for tree in trees]
        scores = best_f1([each.tree for each in made], wanted)
        all_scores += scores
        print(number, *(f"{score:.3f}" for score in scores), len(made), sep="\t", flush=True)
    both = np.reshape(all_scores, (-1, 2)).min(1)
    print(f"mean F1 {np.mean(all_scores):.3f}; both above .9 in {np.mean(both >= 0.9):.0%} of the pairs")


@app.command
def somata(*, count: int = 20, seed: int = 1, weights: Path = WEIGHTS) -> None:
    """Multipolar neurons with somata of 4 to 20 um radius at pixels of .2 to .8 um: a row a view."""
    print("view\tradius\tpixel\toff by\tradius found\tarms\tfound\tnodes inside\tF1", flush=True)
    for number in range(count):
        rng = np.random.default_rng([seed, number, 78])
        plane_um, soma_um = (float(np.exp(rng.uniform(*np.log(ends)))) for ends in ((0.2, 0.8), (4, 20)))
        image, voxel_size, tree = soma_view(rng, soma_um=soma_um, plane_um=plane_um)
        view = quiet(seen, image, voxel_size, weights)
        made = neuron.trace(view.labels, view.field, config.Trace()).neurons
        row: tuple = (number, f"{soma_um:.1f}", f"{plane_um:.2f}")
        if not made or made[0].tree.type[0] != swc.SOMA:
            print(*row, "no soma", sep="\t", flush=True)
            continue
        found = made[0].tree
        away = np.linalg.norm(found.xyz - tree.xyz[0], axis=1)
        inside = int((away[1:] < 0.9 * tree.radius[0]).sum())
        arms = int((tree.parent == 0).sum()), int((found.parent == 0).sum())
        off = f"{away[0] / tree.radius[0]:.3f}", f"{found.radius[0] / tree.radius[0]:.3f}"
        print(
            *row,
            *off,
            *arms,
            inside,
            f"{f1(found, within(tree, image.shape, voxel_size)):.3f}",
            sep="\t",
            flush=True,
        )


def quiet(function, *arguments):
    """What a function returns, what it prints sent to stderr."""
    from contextlib import redirect_stdout

    with redirect_stdout(sys.stderr):
        return function(*arguments)


if __name__ == "__main__":
    app()
