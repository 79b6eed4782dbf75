"""agglomerate: affinities and foreground to cells (electron microscopy)."""

from pathlib import Path

from pipeline import config


def run(
    prediction: Path,
    output: Path,
    *,
    image: Path | None = None,
    settings: config.Agglomerate = config.Agglomerate(),
) -> None:
    """Segment the cells of a dense volume from its affinities.

    Volumes of up to `whole_voxels` are held in memory, larger ones block by block. Where the network read several
    voxels of the image as one, cells are found on these and written on the image's.

    Args:
        prediction: OME-Zarr made by stack, with channels affinity_z, affinity_y, affinity_x, foreground.
        output: OME-Zarr of labels, uint32 (z, y, x): cells 1..n from the largest to the smallest, 0 none.
        image: OME-Zarr made by ingest: where it is blank (padding) there is no cell. Without it every voxel holds data,
            and the labels have the prediction's voxels.
    """
    import math
    import tempfile

    from pipeline import files, volume
    from pipeline.blocks import UNBINNED
    from pipeline.errors import InputError
    from pipeline.instances.affinities import FOREGROUND, NEAREST

    source = volume.open_volume(prediction)
    if missing := [name for name in (*NEAREST, FOREGROUND) if name not in source.channels]:
        found = f"channels {', '.join(source.channels) or 'none'}"
        raise InputError(prediction, found, f"a prediction with {', '.join(missing)}: of a network for em")
    like = volume.open_like(image, shape=source.shape, binning=source.binning) if image else source
    seen = volume.EveryNth(like.array, source.binning) if image else None
    with (
        files.whole(output) as private,
        tempfile.TemporaryDirectory(dir=output.parent, prefix=".") as scratch,
    ):
        array = volume.create(
            private,
            shape=like.shape,
            dtype="uint32",
            voxel_size=like.voxel_size,
            attributes=source.attributes,
        )
        if math.prod(source.shape) <= settings.whole_voxels or settings.method != "multicut":
            labels = _in_one(source, seen, settings)
            cells = int(labels.max())
        else:
            labels = array
            if like.shape != source.shape:
                size = source.voxel_size
                labels = volume.create(
                    Path(scratch) / "labels", shape=source.shape, dtype="uint32", voxel_size=size
                )
            cells = _in_blocks(source, seen, labels, settings)
        if labels is not array:
            _write(labels, array, source.binning if image else UNBINNED)
        warnings = _doubts(source, labels)
        told = [*source.attributes.get("warnings", ()), *warnings]
        volume.describe(private, {**source.attributes, "warnings": told})
    print(f"{output}: {cells} cells")
    for said in warnings:
        print(f"warning: {said}")


def _write(labels, array, binning) -> None:
    """Labels on the voxels of the image, of which `binning` (z, y, x) are one of theirs."""
    import numpy as np

    from pipeline import volume

    depth, height, width = binning
    for slab in volume.slabs(array):
        planes = np.arange(slab.start, slab.stop) // depth
        part = labels[int(planes[0]) : int(planes[-1]) + 1][planes - planes[0]]
        part = part.repeat(height, 1).repeat(width, 2)
        array[slab] = part[:, : array.shape[1], : array.shape[2]]


def _doubts(source, labels) -> list[str]:
    """A sentence where the network is less often sure of a membrane than in doubt, cells alone asked.

    Of tissue like that of the shipped weights two in five of these voxels are doubtful, of inverted images three.
    """
    import numpy as np

    from pipeline import volume
    from pipeline.instances.affinities import NEAREST, doubtful

    rows = [source.channels.index(name) for name in NEAREST]
    total = np.zeros(2, int)
    for slab in volume.slabs(source.array):
        least = np.min([source.array[row, slab] for row in rows], axis=0)
        total += doubtful(least[labels[slab] > 0])
    if total[0] <= total[1]:
        return []
    return ["most membranes are doubtful: unlike what the network was trained on, or not dark"]


def _in_one(source, image, settings: config.Agglomerate):
    from pipeline import instances
    from pipeline.intensity.blank import blank

    return instances.segment(
        {name: source.channel(name) for name in source.channels},
        source.voxel_size,
        method=settings.method,
        beta=settings.beta,
        cutting=instances.Cutting(threshold=settings.threshold, seed_sigma=settings.seed_sigma),
        link=settings.link,
        bias=settings.bias,
        min_foreground=settings.min_foreground,
        restrict=settings.restrict,
        min_size_um3=settings.min_size_um3,
        blank=None if image is None else blank(image[tuple(slice(0, length) for length in image.shape)]),
    )


def _in_blocks(source, image, array, settings: config.Agglomerate) -> int:
    from pipeline import instances
    from pipeline.instances import blockwise
    from pipeline.volume import ChannelView

    depth, height, width = source.shape
    # Slabs of whole planes while they have depth enough, then squares of half the edge.
    edge = max(height, width)
    while settings.block_voxels // (min(edge, height) * min(edge, width)) < min(64, depth):
        edge = -(-edge // 2)
    block = (
        settings.block_voxels // (min(edge, height) * min(edge, width)),
        min(edge, height),
        min(edge, width),
    )
    return blockwise.segment_blocks(
        {name: ChannelView(source.array, index) for index, name in enumerate(source.channels)},
        array,
        source.voxel_size,
        block=(min(block[0], depth), *block[1:]),
        halo=(16, 32, 32),
        beta=settings.beta,
        cutting=instances.Cutting(threshold=settings.threshold, seed_sigma=settings.seed_sigma),
        min_foreground=settings.min_foreground,
        restrict=settings.restrict,
        min_size_um3=settings.min_size_um3,
        image=image,
    )
