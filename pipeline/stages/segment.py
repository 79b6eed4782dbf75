"""segment: probability of neurite to labelled components (light microscopy)."""

from pathlib import Path

from pipeline import config


def run(
    prediction: Path,
    output: Path,
    *,
    image: Path | None = None,
    settings: config.Segment = config.Segment(),
) -> None:
    """Threshold the probability of neurite into labels.

    Holds the whole volume in memory.

    Args:
        prediction: OME-Zarr made by stack, with a channel neurite (uint8, 0..255 = 0..1).
        output: OME-Zarr of labels, uint32 (z, y, x): 0 background, components 1..n.
        image: the OME-Zarr that the prediction was made of; components reach further where it shows light.
    """
    from pipeline import files, volume
    from pipeline.tracing.segment import components

    source = volume.open_volume(prediction)
    light = volume.read_light(image, shape=source.shape) if image else None
    labels = components(source.channel("neurite"), source.voxel_size, settings, light=light)
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
