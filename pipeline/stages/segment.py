"""segment: probability to labelled components."""

from pathlib import Path

from pipeline import config


def run(probability: Path, output: Path, *, settings: config.Segment = config.Segment()) -> None:
    """Threshold a probability volume into labels.

    Args:
        probability: OME-Zarr made by stack, uint8 (z, y, x), 0..255 = 0..1.
        output: OME-Zarr of labels, uint32, the same shape: 0 background, components 1..n.
    """
    from pipeline import files, volume
    from pipeline.tracing.segment import components

    source = volume.open_volume(probability)
    labels = components(source.array[:], source.voxel_size, **settings.model_dump())
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
