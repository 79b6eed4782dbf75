"""trace: labels and probability of neurite to trees (light microscopy)."""

from pathlib import Path

from pipeline import config


def run(
    labels: Path,
    prediction: Path,
    output: Path,
    table: Path,
    *,
    image: Path | None = None,
    root: str = "",
    settings: config.Trace = config.Trace(),
) -> None:
    """Trace the neurons of a label volume.

    Without a foreground the SWC has a header and no node. Beside each tree lies {tree}.confidence.tsv: for each node
    its id, the probability along its edge, and the cost (um) of the link that bridges it, empty within foreground.
    Holds the whole volume in memory.

    Args:
        labels: OME-Zarr made by segment, uint32 (z, y, x).
        prediction: OME-Zarr made by stack, with a channel neurite (uint8, 0..255 = 0..1).
        output: SWC in um, the root first; with `neurons` all a folder of {id}.swc, somata first.
        table: TSV, a row a tree: id, root, soma, cable length, branch points, tips, mean confidence, and whether it
            was traced: trees of min_length_um and more that were left out have their length there.
        image: OME-Zarr made by ingest: branches that do not stand out in it are left out, and somata are found in it.
            Without it the prediction is believed.
        root: x,y,z in voxels: trace the tree that starts there. Empty: the longest tree, from its soma where
            there is one, else from its thickest end.
    """
    from pipeline import neurons, swc, volume
    from pipeline.errors import InputError
    from pipeline.images.source import sizes
    from pipeline.tracing import neuron
    from pipeline.tracing.field import Field

    foreground, source = volume.open_volume(labels), volume.open_volume(prediction)
    if foreground.shape != source.shape:
        found = f"shapes {foreground.shape} of labels and {source.shape} of prediction"
        raise InputError(labels, found, "two equal shapes")
    light = volume.read_light(image, shape=source.shape) if image else None
    root_xyz = config.parse_triple("--root", root, positive=False)
    shape_xyz = source.shape[::-1]
    if root_xyz and not all(-1 <= place <= edge for place, edge in zip(root_xyz, shape_xyz)):
        allowed = f"x,y,z in voxels within the image, {sizes(shape_xyz)}"
        raise InputError(f"{source.attributes.get('source', prediction)}: root", f"found {root}", allowed)
    traced = neuron.trace(
        foreground.array[:],
        Field(source.channel("neurite"), source.voxel_size, light),
        settings,
        root_zyx=root_xyz and root_xyz[::-1],
    )
    named = {str(number): each for number, each in enumerate(traced.neurons, 1)}
    header = swc.header(source.attributes.get("source", prediction.name), source.voxel_size)
    if settings.neurons == "one":
        neurons.write_one(output, named.get("1", neurons.NOTHING), header)
    else:
        neurons.write_all(output, named, header)
    neurons.write_table(table, named, left_out_um=traced.left_out_um)
    if named:
        trees = [each.tree for each in traced.neurons]
        nodes, length = sum(map(len, trees)), sum(map(swc.cable_length, trees))
        print(f"{output}: {len(trees)} trees, {nodes} nodes, {length:.1f} um")
    else:
        print(f"{output}: nothing to trace: no neurite in the labels, or none that the image shows")
    if traced.left_out_um:
        print(f"left out: {len(traced.left_out_um)} trees, the longest of {traced.left_out_um[0]:.0f} um")
