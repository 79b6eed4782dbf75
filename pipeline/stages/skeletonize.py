"""skeletonize: cells to one tree each (electron microscopy)."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pipeline import config


def run(
    labels: Path,
    prediction: Path,
    output: Path,
    table: Path,
    *,
    workers: Annotated[int, Parameter(env_var="STACK2SWC_SKELETONIZE_WORKERS")] = 1,
    settings: config.Skeletonize = config.Skeletonize(),
) -> None:
    """Skeletonize every cell of a label volume.

    Holds the whole volume of labels in memory.

    Args:
        labels: OME-Zarr made by agglomerate, uint32 (z, y, x).
        prediction: OME-Zarr made by stack: its channel foreground gives the confidence of each edge.
        output: folder of {label}.swc in um, and {label}.confidence.tsv beside each.
        table: TSV, a row a tree, those with a soma first, then by falling length.
        workers: processes.
    """
    import numpy as np

    from pipeline import neurons, swc, volume
    from pipeline.blocks import UNBINNED
    from pipeline.images.source import doubt
    from pipeline.swc import Tree
    from pipeline.tracing.field import Field
    from pipeline.tracing.instances import keep_freed_memory, trace_labels
    from pipeline.tracing.neuron import along_edges

    source = volume.open_volume(prediction)
    # Without an image agglomerate leaves the labels on the prediction's voxels.
    own = volume.open_volume(labels).shape == source.shape
    binning = UNBINNED if own else source.binning
    cells = volume.open_like(labels, shape=source.shape, binning=binning, what="labels")
    keep_freed_memory()
    trees = trace_labels(cells.array[:], cells.voxel_size, workers=workers, **settings.model_dump())
    field = Field(source.channel("foreground"), source.voxel_size)
    order = sorted(
        trees, key=lambda label: (trees[label].type[0] != swc.SOMA, -swc.cable_length(trees[label]), label)
    )
    # The middle of the prediction's first voxel is the place 0 of its field.
    first_xyz = (np.subtract(source.voxel_size, cells.voxel_size) / 2)[::-1]
    found_neurons = {}
    for label in order:
        tree = trees[label]
        seen = Tree(tree.xyz - first_xyz, tree.radius, tree.parent, tree.type)
        found_neurons[str(label)] = neurons.of_tree(tree, along_edges(seen, field))
    header = swc.header(source.attributes.get("source", labels.name), cells.voxel_size)
    neurons.write_all(output, found_neurons, header)
    neurons.write_table(table, found_neurons)
    lengths = [swc.cable_length(tree) for tree in trees.values()]
    print(
        f"{output}: {len(trees)} trees, {sum(lengths):.1f} um, the longest {max(lengths, default=0):.1f} um"
    )
    if odd := doubt(cells.voxel_size):
        print(odd)
