"""segment: probability of neurite to labelled components (light microscopy)."""

from pathlib import Path

from pipeline import config


def run(prediction: Path, output: Path, *, settings: config.Segment = config.Segment()) -> None:
    """Threshold the probability of neurite into labels.

    Holds the whole volume in memory.

    Args:
        prediction: OME-Zarr made by stack, with a channel neurite (uint8, 0..255 = 0..1).
        output: OME-Zarr of labels, uint32 (z, y, x): 0 background, components 1..n.
    """
    from pipeline import files, volume
    from pipeline.tracing.segment import components

    source = volume.open_volume(prediction)
    labels = components(source.channel("neurite"), source.voxel_size, settings)
    with files.whole(output) as private:
        array = volume.create(
            private,
            shape=labels.shape,
            dtype="uint32",
            voxel_size=source.voxel_size,
            attributes=source.attributes,
        )
        array[:] = labels
    print(f"{output}: {labels.max()} components, {(labels > 0).mean():.3%} of the volume")
