"""NBLAST: similarity of type, as navis computes it. It hardly sees missing tips: no measure of a tracing's errors."""

from pipeline.metrics.scores import Scores, undefined
from pipeline.swc import Tree, cable_length

NEIGHBOURS = 5
RESAMPLE_UM = 1.0


def scores(prediction: Tree, reference: Tree) -> Scores:
    """nblast: mean of both directions, each normalised by the self-score; 1 for identical trees.

    Tangent vectors from 5 neighbours after resampling to 1 um; the scores of point pairs are those that the
    authors calibrated on flies, in um. Costa et al. 2016, Neuron 91:293.
    """
    if min(cable_length(prediction), cable_length(reference)) < (NEIGHBOURS + 1) * RESAMPLE_UM:
        return undefined(f"a tree has fewer than {NEIGHBOURS + 1} points", "nblast")
    try:
        import navis
    except ImportError:
        return undefined("navis is not installed", "nblast")
    ours, theirs = (
        navis.make_dotprops(_neuron(tree), k=NEIGHBOURS, resample=RESAMPLE_UM)
        for tree in (prediction, reference)
    )
    score = navis.nblast(ours, theirs, scores="mean", normalized=True, n_cores=1, progress=False)
    return {"nblast": float(score.iloc[0, 0])}


def _neuron(tree: Tree):
    import navis
    import pandas as pd

    table = pd.DataFrame({"node_id": range(len(tree)), "parent_id": tree.parent, "radius": tree.radius})
    table[["x", "y", "z"]] = tree.xyz
    return navis.TreeNeuron(table, units="1 um")
