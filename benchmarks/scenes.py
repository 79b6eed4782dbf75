"""Picture of the simulations for docs/simulation.md: the demo neurons, then training scenes with their truth.

python benchmarks/scenes.py docs/figures/simulation.jpg
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from pipeline.simulation import random_scene, random_voxel_size
from pipeline.simulation.demo import demo_neuron

SCENE_ZYX = (32, 192, 192)


def main(output: Path) -> None:
    figure, axes = plt.subplots(3, 6, figsize=(12, 6.2), layout="constrained")
    for index in range(3):
        made = demo_neuron(index, 3, seed=0)
        show(axes[0, 2 * index], made.image, f"demo neuron_{index + 1}")
        show(axes[0, 2 * index + 1], made.image, "truth", trees=[made.tree], voxel_size=made.voxel_size)
    for index, (image_axis, truth_axis) in enumerate(axes[1:].reshape(-1, 2)):
        rng = np.random.default_rng(index)
        voxel_size = random_voxel_size(rng)
        image, trees = random_scene(rng, shape_zyx=SCENE_ZYX, voxel_size=voxel_size)
        show(image_axis, image, f"scene {index}, {voxel_size[0]:.1f} x {voxel_size[1]:.2f} um, {image.dtype}")
        show(truth_axis, image, "truth", trees=trees, voxel_size=voxel_size)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=90, pil_kwargs={"quality": 85})


def show(axis, image, title, *, trees=(), voxel_size=(1, 1, 1)) -> None:
    """Maximum along z, black to white between two percentiles, and the lines of the trees in the volume."""
    flat = image.max(axis=0)
    low, high = np.percentile(flat, [0.5, 99.7])
    axis.imshow(flat, cmap="gray", vmin=low, vmax=max(high, low + 1), alpha=0.5 if len(trees) else 1)
    for tree in trees:
        child = np.flatnonzero(tree.parent >= 0)
        ends = tree.xyz[np.stack([child, tree.parent[child]])] / voxel_size[::-1]
        shown = np.all((ends[:, :, 2] >= -0.5) & (ends[:, :, 2] <= len(image) - 0.5), axis=0)
        axis.plot(ends[:, shown, 0], ends[:, shown, 1], color="#e6842a", linewidth=0.8)
    axis.set(xlim=(-0.5, image.shape[2] - 0.5), ylim=(image.shape[1] - 0.5, -0.5), xticks=[], yticks=[])
    axis.set_facecolor("black")
    axis.set_title(title, fontsize=7)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
