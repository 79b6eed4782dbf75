"""Which fragments are one cell: costs of cutting, and the multicut that costs least.

The one place that knows the solver's library (bioimage-cpp, the engine under python-elf).
"""

import bioimage_cpp as bic
import numpy as np

# Probabilities are kept this far from 0 and 1: no edge is beyond dispute.
DOUBT = 0.001
# The membrane of an edge is measured on its faces: the more there are, the less it strays. Within a cell two fragments
# that share thousands of voxel faces have hardly any: from LARGE faces on less of it repels, by this power (docs/em.md;
# chosen on voxels of 8 nm).
LARGE, FALL = 300.0, 0.6
TOLERANCE = 1e-9


def costs(boundary: np.ndarray, faces: np.ndarray, *, beta: float, sliced: bool | np.ndarray) -> np.ndarray:
    """(m,) float64: what it costs to cut each edge; negative where a cut is welcome.

    boundary: (m,) probability 0..1 of a membrane. faces: (m,) > 0, weighs the edges. beta: prior of a membrane; an
    edge of up to LARGE faces repels from boundary 1 - beta on, a larger one sooner; a small beta merges more.
    sliced: (m,) bool, or one for all: edges between fragments that were cut apart, not found apart, and so meet over
    their whole cross-section (section by section, or at the border of two blocks). These repel no sooner.
    """
    p = DOUBT + (1 - 2 * DOUBT) * np.asarray(boundary, float)
    larger = np.where(sliced, 1, np.maximum(np.asarray(faces, float) / LARGE, 1))
    repels = (1 - beta) / larger**FALL
    return (np.log((1 - p) / p) + np.log(repels / (1 - repels))) * faces / np.max(faces, initial=1)


def multicut(nodes: int, pairs: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """(nodes,) int64: the group 0, 1, ... of each node, so that the cost of the edges between groups is least.

    pairs: (m, 2) nodes from 0. Greedy additive contraction, then Kernighan-Lin moves: no proof of the optimum.
    Keuper et al. 2015, ICCV.
    """
    if not len(pairs):
        return np.arange(nodes)
    graph = bic.graph.UndirectedGraph.from_edges(nodes, np.asarray(pairs, np.uint64))
    objective = bic.graph.multicut.MulticutObjective(graph, np.asarray(cost, float))
    # It starts from the greedy solution by itself. Costs of small edges are far below its usual tolerance.
    group = bic.graph.multicut.KernighanLinMulticut(epsilon=TOLERANCE).optimize(objective)
    return np.unique(group, return_inverse=True)[1].ravel()
