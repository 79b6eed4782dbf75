"""trace: labels and probability to one neuron."""

from pathlib import Path

from pipeline import config


def run(
    labels: Path,
    probability: Path,
    image: Path,
    output: Path,
    *,
    root: str = "",
    settings: config.Trace = config.Trace(),
) -> None:
    """Trace one neuron from a label volume.

    Without a foreground the SWC has a header and no node.

    Args:
        labels: OME-Zarr made by segment, uint32 (z, y, x).
        probability: OME-Zarr made by stack, uint8, 0..255 = 0..1.
        image: OME-Zarr made by ingest: gives the name of the source.
        output: SWC in um, the root first.
        root: x,y,z in voxels: trace the tree that starts there. Empty: the longest tree, from its soma where
            there is one, else from its thickest end.
    """
    from pipeline import swc, tracing, volume
    from pipeline.errors import InputError

    foreground, certain, source = (volume.open_volume(path) for path in (labels, probability, image))
    if not foreground.array.shape == certain.array.shape == source.array.shape:
        found = " and ".join(str(v.array.shape) for v in (foreground, certain, source))
        raise InputError(labels, f"shapes {found} of labels, probability and image", "three equal shapes")
    voxel_size = source.voxel_size
    root_xyz = config.parse_triple("--root", root, positive=False)
    shape_xyz = source.array.shape[::-1]
    if root_xyz and not all(-1 <= place <= edge for place, edge in zip(root_xyz, shape_xyz)):
        allowed = f"x,y,z in voxels within the image, {volume.sizes(shape_xyz)}"
        raise InputError(f"{source.attributes.get('source', image)}: root", f"found {root}", allowed)
    tree = tracing.trace(
        foreground.array[:],
        certain.array[:],
        voxel_size=voxel_size,
        root_zyx=root_xyz and root_xyz[::-1],
        **settings.model_dump(),
    )
    header = swc.header(source.attributes.get("source", image.name), voxel_size)
    swc.write(output, tree, header=header)
    if len(tree):
        print(f"{output}: {len(tree)} nodes, {swc.cable_length(tree):.1f} um")
    else:
        print(f"{output}: nothing to trace: the labels are empty")
