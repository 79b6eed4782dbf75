"""Labels and probability to one rooted tree: skeletons, links, root, pruning, centre line, radii."""

import numpy as np

from pipeline.swc import Tree
from pipeline.tracing import bridge, prune, radius, root, skeleton


def trace(
    labels: np.ndarray,
    probability: np.ndarray,
    *,
    voxel_size: tuple[float, float, float],
    root_zyx: tuple[float, float, float] | None = None,
    scale: float = 1.5,
    const_um: float = 2.0,
    soma_um: float = 5.0,
    gap_um: float = 6.0,
    root_um: float = 3.0,
    doubt: float = 0.3,
    spur_um: float = 2.0,
    spur_radii: float = 1.0,
    cover_radii: float = 1.0,
    smooth_um: float = 1.0,
    step_um: float = 1.0,
) -> Tree:
    forest = skeleton.forest(labels, voxel_size, scale=scale, const_um=const_um, soma_um=soma_um)
    forest = bridge.join(forest, probability, voxel_size, gap_um=gap_um)
    tree = root.choose(forest, voxel_size, root_zyx=root_zyx, root_um=root_um, soma_um=soma_um)
    if not len(tree):
        return tree
    certain = radius.sample(probability, tree.xyz, voxel_size) / 255
    tree = prune.prune(
        tree, certain, doubt=doubt, spur_um=spur_um, spur_radii=spur_radii, cover_radii=cover_radii
    )
    tree = Tree(radius.smooth(tree, tree.xyz, smooth_um), tree.radius, tree.parent, tree.type)
    tree = radius.resample(tree, step_um)
    tree = radius.centred(tree, probability, voxel_size, rounds=4, smooth_um=smooth_um)
    return radius.measured(tree, labels > 0, voxel_size, smooth_um=smooth_um)
