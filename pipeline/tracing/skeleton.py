"""Labels to pieces: centre lines by TEASAR, their tips drawn back to the end of the tube."""

import numpy as np

from pipeline import swc
from pipeline.swc import Tree, um_to_voxel
from pipeline.tracing import graph


def forest(
    labels: np.ndarray,
    voxel_size: tuple[float, float, float],
    *,
    scale: float,
    const_um: float,
    soma_um: float,
) -> Tree:
    """One piece a connected part of a label, its nodes on voxel centres, its radius the distance to the border.

    labels: unsigned integer (z, y, x), 0 = background. voxel_size: z,y,x um. A found path covers everything
    within scale * radius + const_um of it (TEASAR's rolling ball): small values find more tips and more spurs.
    From soma_um of radius on a blob is a soma: one point, without lines inside.
    Parts of a single voxel have no line. Roots are arbitrary.

    Sato et al. 2000, doi:10.1109/PCCGA.2000.883951, as implemented by kimimaro.
    """
    import kimimaro

    skeletons = kimimaro.skeletonize(
        # kimimaro works in x,y,z; the transposed view of a C array needs no copy.
        labels.T,
        teasar_params={
            "scale": scale,
            "const": const_um,
            "soma_detection_threshold": soma_um,
            "soma_acceptance_threshold": soma_um,
            "soma_invalidation_scale": 1.0,
            "soma_invalidation_const": const_um,
            "pdrf_scale": 50_000,
            "pdrf_exponent": 4,
        },
        anisotropy=voxel_size[::-1],
        dust_threshold=1,
        fix_branching=False,
        progress=False,
    )
    parts = [skeletons[label] for label in sorted(skeletons) if len(skeletons[label].vertices)]
    if not parts:
        return Tree(np.zeros((0, 3)), np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64))
    before = np.cumsum([0] + [len(part.vertices) for part in parts])
    return graph.rooted(
        np.concatenate([part.vertices for part in parts]).astype(float),
        np.concatenate([part.radii for part in parts]).astype(float),
        np.concatenate(
            [part.edges.astype(np.int64) + start for part, start in zip(parts, before, strict=False)]
        ),
    )


def shortened(forest: Tree, shape_zyx: tuple[int, int, int], voxel_size: tuple[float, float, float]) -> Tree:
    """Tips drawn back by the radius there, to the centre of the last ball that fits into the round end of a tube.

    TEASAR runs to the farthest voxel, often a corner of that end. What is left of a section shorter than that is its
    foot at a branch point, or its thickest node when both ends are tips. Tips in the outermost voxels of the
    volume stay: there the neurite goes on.
    """
    free = (graph.degree(forest) == 1) & ~at_border(forest, shape_zyx, voxel_size)
    keep = np.ones(len(forest), bool)
    for section in graph.sections(forest):
        for way in (section, section[::-1]):
            if free[way[-1]]:
                away = np.linalg.norm(forest.xyz[way] - forest.xyz[way[-1]], axis=1)
                # In the round end away and radius grow alike: the half voxel decides. The radius runs to the centre
                # of a background voxel, up to a voxel too far: one small step back.
                far = np.logical_and.accumulate(away > forest.radius[way] + min(voxel_size) / 2)
                step = np.linalg.norm(np.diff(forest.xyz[way], axis=0), axis=1)
                keep[way[1:]] &= far[1:] | (far[:-1] & (step < 2 * min(voxel_size)))
        if free[section[0]] and free[section[-1]] and not keep[section].any():
            keep[section[forest.radius[section].argmax()]] = True
    return swc.take(forest, np.flatnonzero(keep))


def at_border(
    tree: Tree, shape_zyx: tuple[int, int, int], voxel_size: tuple[float, float, float]
) -> np.ndarray:
    """bool (n,): nodes in the outermost voxels of the volume, where a neurite is cut rather than ends."""
    place = um_to_voxel(tree.xyz, voxel_size)
    return np.any((place < 0.5) | (place > np.array(shape_zyx) - 1.5), axis=1)
