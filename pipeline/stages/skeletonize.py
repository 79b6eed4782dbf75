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
    from pipeline import neurons, swc, volume
    from pipeline.errors import InputError
    from pipeline.images.source import doubt
    from pipeline.tracing.field import Field
    from pipeline.tracing.instances import keep_freed_memory, trace_labels
    from pipeline.tracing.neuron import along_edges

    cells, source = volume.open_volume(labels), volume.open_volume(prediction)
    if cells.shape != source.shape:
        found = f"shapes {cells.shape} of labels and {source.shape} of prediction"
        raise InputError(labels, found, "two equal shapes")
    keep_freed_memory()
    trees = trace_labels(cells.array[:], cells.voxel_size, workers=workers, **settings.model_dump())
    field = Field(source.channel("foreground"), source.voxel_size)
    order = sorted(
        trees, key=lambda label: (trees[label].type[0] != swc.SOMA, -swc.cable_length(trees[label]), label)
    )
    found_neurons = {
        str(label): neurons.of_tree(trees[label], along_edges(trees[label], field)) for label in order
    }
    header = swc.header(source.attributes.get("source", labels.name), cells.voxel_size)
    neurons.write_all(output, found_neurons, header)
    neurons.write_table(table, found_neurons)
    lengths = [swc.cable_length(tree) for tree in trees.values()]
    print(
        f"{output}: {len(trees)} trees, {sum(lengths):.1f} um, the longest {max(lengths, default=0):.1f} um"
    )
    if odd := doubt(cells.voxel_size):
        print(odd)
