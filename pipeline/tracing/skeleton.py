"""Labels to pieces: centre lines by TEASAR."""

import numpy as np

from pipeline.swc import Tree
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
            "pdrf_scale": 100_000,
            "pdrf_exponent": 4,
        },
        anisotropy=voxel_size[::-1],
        dust_threshold=1,
        progress=False,
    )
    parts = [skeletons[label] for label in sorted(skeletons) if len(skeletons[label].vertices)]
    if not parts:
        return Tree(np.zeros((0, 3)), np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64))
    before = np.cumsum([0] + [len(part.vertices) for part in parts])
    return graph.rooted(
        np.concatenate([part.vertices for part in parts]).astype(float),
        np.concatenate([part.radii for part in parts]).astype(float),
        np.concatenate([part.edges.astype(np.int64) + start for part, start in zip(parts, before, strict=False)]),
    )
