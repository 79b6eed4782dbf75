"""Labels and probability to one rooted tree: pieces, links, root, pruning, centre line, radii."""

import numpy as np

from pipeline import swc
from pipeline.swc import Tree
from pipeline.tracing import bridge, prune, radius, root, skeleton

# Rounds of centring: each moves a line at most by the reach of its cross-sections.
ROUNDS = 3


def trace(
    labels: np.ndarray,
    probability: np.ndarray,
    *,
    voxel_size: tuple[float, float, float],
    root_zyx: tuple[float, float, float] | None = None,
    scale: float,
    const_um: float,
    soma_um: float,
    gap_um: float,
    root_um: float,
    doubt: float,
    spur_um: float,
    spur_walls: float,
    cover_radii: float,
    smooth_um: float,
    step_um: float,
) -> Tree:
    """One neuron as one rooted tree in um, root first, parents before children; no node where there is no foreground.

    labels: unsigned integer (z, y, x), 0 = background; each connected part gives one piece. probability: uint8
    (z, y, x), 0..255 = 0..1. voxel_size: z,y,x um. root_zyx: voxels; the tree that starts there, else the
    longest one. The settings are those of config.Trace, explained there and in the functions that take them.
    """
    forest = skeleton.forest(labels, voxel_size, scale=scale, const_um=const_um, soma_um=soma_um)
    forest = skeleton.shortened(forest, labels.shape, voxel_size)
    forest = bridge.join(forest, probability, voxel_size, gap_um=gap_um)
    tree = root.choose(forest, labels.shape, voxel_size, root_zyx=root_zyx, root_um=root_um, soma_um=soma_um)
    if not len(tree):
        return tree
    tree = prune.prune(
        tree,
        probability,
        voxel_size,
        doubt=doubt,
        spur_um=spur_um,
        spur_walls=spur_walls,
        cover_radii=cover_radii,
    )
    # Voxel steps out of the way first: cross-sections need the direction of the line.
    tree = Tree(radius.smooth(tree, tree.xyz, smooth_um), tree.radius, tree.parent, tree.type)
    tree = radius.resample(tree, step_um)
    tree = radius.centred(tree, probability, voxel_size, rounds=ROUNDS, smooth_um=smooth_um)
    tree = radius.measured(tree, probability, voxel_size, smooth_um=smooth_um)
    soma = (tree.parent < 0) & (tree.radius >= soma_um)
    return swc.sorted_tree(Tree(tree.xyz, tree.radius, tree.parent, np.where(soma, swc.SOMA, tree.type)))
