"""All cells of a label volume to one tree each, in one go: electron microscopy."""

import ctypes
import itertools
import sys

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial import cKDTree

from pipeline import swc
from pipeline.swc import Tree
from pipeline.tracing import graph, radius, root

# Parameters of glibc's mallopt (malloc.h).
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Let this process keep memory that it has freed, instead of asking the system for it again; glibc alone can.

    kimimaro takes and frees arrays of the size of a cell's box for every path. For cells that span a large volume
    nearly all of its time was spent by the system on clearing their pages (docs/em.md). Processes that are forked from
    this one do the same.
    """
    if sys.platform != "linux":
        return
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if set_option is not None:
        set_option(M_MMAP_MAX, 0)
        set_option(M_TRIM_THRESHOLD, -1)


def trace_labels(
    labels: np.ndarray,
    voxel_size: tuple[float, float, float],
    *,
    min_length_um: float = 1.0,
    scale: float = 1.5,
    const_um: float = 0.3,
    soma_um: float = 3.5,
    bulge_um: float = 0.75,
    dust_voxels: int = 1000,
    gap_um: float = np.inf,
    smooth_um: float = 0.1,
    workers: int = 1,
) -> dict[int, Tree]:
    """The tree of each label, in um, by rising label: one root first, parents before children.

    labels: unsigned integer (z, y, x), 0 = background. voxel_size: z,y,x um. Left out are labels whose tree is
    shorter than min_length_um and parts of less than dust_voxels. A found path covers everything within scale * radius
    + const_um of it (TEASAR's rolling ball): smaller values find more twigs and more spurs. Where a part is
    thicker than bulge_um it is looked at more closely; from soma_um of radius on it is a soma, a point without lines
    inside. Parts of a label are joined by straight links, the shortest first, up to gap_um; of what is
    farther apart the longest tree is kept. The root is the soma (type 1), else the thickest end at the border of
    the volume, else the thickest end. Lines and radii are smoothed over smooth_um. workers: processes; the trees do
    not depend on it.

    Sato et al. 2000, doi:10.1109/PCCGA.2000.883951; Silversmith et al. 2021, doi:10.5281/zenodo.5539913 (kimimaro).
    """
    trees = {}
    skeletons = _skeletons(
        labels,
        voxel_size,
        dust_voxels=dust_voxels,
        workers=workers,
        scale=scale,
        const=const_um,
        soma_detection_threshold=bulge_um,
        soma_acceptance_threshold=soma_um,
        soma_invalidation_scale=2.0,
        soma_invalidation_const=const_um,
    )
    for label, skeleton in skeletons:
        tree = joined(skeleton, gap_um=gap_um)
        tree = root.longest(tree, labels.shape, voxel_size, soma_um=soma_um).tree
        if swc.cable_length(tree) < min_length_um or len(tree) < 2:
            continue
        values = radius.smooth(tree, np.column_stack([tree.xyz, tree.radius]), smooth_um)
        kind = np.where((tree.parent < 0) & (tree.radius >= soma_um), swc.SOMA, tree.type)
        trees[label] = swc.sorted_tree(Tree(values[:, :3], values[:, 3], tree.parent, kind))
    return trees


def joined(forest: Tree, *, gap_um: float) -> Tree:
    """The forest with its pieces joined at their nearest nodes, the shortest links first, up to gap_um."""
    piece = graph.pieces(forest)
    count = int(piece.max(initial=-1)) + 1
    if count < 2:
        return forest
    rows = [np.flatnonzero(piece == number) for number in range(count)]
    nodes = [cKDTree(forest.xyz[part]) for part in rows]
    away, ends = np.zeros((count, count)), {}
    for one, two in itertools.combinations(range(count), 2):
        distance, nearest = nodes[one].query(forest.xyz[rows[two]])
        far = distance.argmin()
        # Touching pieces would be no edge of a sparse matrix.
        away[one, two] = max(distance[far], 1e-9)
        ends[one, two] = rows[one][nearest[far]], rows[two][far]
    chosen = minimum_spanning_tree(coo_array(np.where(away <= gap_um, away, 0))).tocoo()
    links = [ends[int(one), int(two)] for one, two in zip(chosen.row, chosen.col)]
    edges = np.concatenate([graph.edges(forest), np.array(links, np.int64).reshape(-1, 2)])
    return graph.rooted(forest.xyz, forest.radius, edges)


def _skeletons(labels, voxel_size, *, dust_voxels: int, workers: int, **teasar):
    """(label, its pieces as a forest in um) by rising label; options of TEASAR in um."""
    import kimimaro

    found = kimimaro.skeletonize(
        # kimimaro works in x,y,z; the transposed view of a C array needs no copy.
        labels.T,
        teasar_params={"pdrf_scale": 100_000, "pdrf_exponent": 4, **teasar},
        anisotropy=voxel_size[::-1],
        dust_threshold=dust_voxels,
        fix_branching=True,
        fix_borders=True,
        progress=False,
        parallel=workers,
    )
    for label in sorted(found):
        part = found[label]
        if len(part.vertices):
            edges = part.edges.astype(np.int64)
            yield int(label), graph.rooted(part.vertices.astype(float), part.radii.astype(float), edges)
