"""An image file becomes an OME-Zarr volume with all that later stages need to know about it."""

from pathlib import Path

from pipeline.errors import InputError

# Voxels looked at for the intensity levels: .1 % of them are still 2,000.
SAMPLE_VOXELS = 2_000_000


def run(image: Path, output: Path, *, voxel_size: str = "", fallback_voxel_size: str = "") -> None:
    """Read an image stack and store it as OME-Zarr, voxels unchanged.

    Memory is bounded by one slab of planes (volume.SLAB_BYTES), not by the volume.

    Parameters
    ----------
    image: TIFF file (one channel, several planes) or OME-Zarr folder.
    output: OME-Zarr 0.5 folder to write: zyx, chunked, blosc-zstd.
    voxel_size: z,y,x in um, e.g. 1.0,0.33,0.33; wins over what the file says.
    fallback_voxel_size: z,y,x in um for a file that says nothing.
    """
    from pipeline import files, volume
    from pipeline.dataset import voxel_size_from

    source = volume.open_image(image)
    if voxel_size:
        size = voxel_size_from(voxel_size, where=f"voxel size given for {image}")
    elif source.voxel_size:
        size = voxel_size_from(source.voxel_size, where=f"voxel size in the metadata of {image}")
    elif fallback_voxel_size:
        size = voxel_size_from(fallback_voxel_size, where="voxel_size")
    else:
        allowed = "z,y,x in um, in samples.tsv or as voxel_size in the config"
        raise InputError(image, "no voxel size in its metadata", allowed)

    shape = " x ".join(map(str, source.shape))
    print(f"{image}: {shape} voxels (z, y, x), {source.dtype}, voxel size {size} um", flush=True)
    with files.whole(output) as private:
        array = volume.create(private, shape=source.shape, dtype=source.dtype, voxel_size=size)
        levels = _copy(source.array, array, where=image)
        volume.describe(private, {"source": Path(image).name, **levels})
    print(f"{output}: intensities {levels['low']:g} to {levels['high']:g}, ", end="")
    print(f"background {levels['background']:g} +- {levels['noise']:g}")


def _copy(source, array, *, where: Path) -> dict:
    """Copy slab by slab; return the checksum of the voxels and the intensity levels.

    Raises InputError for NaN, infinity and constant volumes.
    """
    import hashlib

    import numpy as np

    from pipeline import __version__, volume

    digest = hashlib.sha256()
    step = int(np.ceil((np.prod(array.shape, dtype=float) / SAMPLE_VOXELS) ** (1 / 3)))
    sample, minimum, maximum = [], np.inf, -np.inf
    for z in volume.slabs(array):
        slab = np.ascontiguousarray(source[z])
        bad = slab.size - np.count_nonzero(np.isfinite(slab)) if slab.dtype.kind == "f" else 0
        if bad:
            raise InputError(
                where, f"{bad} voxels are NaN or infinite in planes {z.start}-{z.stop - 1}", "numbers"
            )
        array[z] = slab
        digest.update(slab.astype(slab.dtype.newbyteorder("<"), copy=False))
        minimum, maximum = min(minimum, slab.min()), max(maximum, slab.max())
        sample.append(slab[-z.start % step :: step, ::step, ::step].ravel())
    if minimum == maximum:
        raise InputError(where, f"all {array.size} voxels are {minimum}", "an image with some contrast")
    levels = intensity_levels(np.concatenate(sample), minimum=float(minimum), maximum=float(maximum))
    return {"sha256": digest.hexdigest(), **levels, "version": __version__}


def intensity_levels(sample, *, minimum: float, maximum: float) -> dict[str, float]:
    """low, high, background and noise of a volume from a (n,) sample of its voxels, in the units of the image.

    low, high: the .1 and 99.9 percentiles; where they are equal (an image that is empty but for a few voxels)
    the extremes of the whole volume. background: the median, since neurites fill little of a volume. noise:
    1.4826 x the median of (background - voxel) over the voxels not brighter than the background, the sigma of
    a normal distribution that only its dark half determines, so that neurites do not enter. It is 0 for images
    whose background was cleaned to one value.
    """
    import numpy as np

    low, background, high = (float(level) for level in np.percentile(sample, (0.1, 50, 99.9)))
    if high <= low:
        low, high = minimum, maximum
    noise = 1.4826 * float(np.median(background - sample[sample <= background].astype(np.float64)))
    return {"low": low, "high": high, "background": background, "noise": noise}
