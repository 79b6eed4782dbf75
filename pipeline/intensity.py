"""From counts of a detector to the grey that the network sees: one rule for training and inference."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pipeline.errors import InputError

# Voxels looked at for the intensity levels: .01 % of them are still 400.
SAMPLE_VOXELS = 4_000_000


def grey(voxels: np.ndarray, level: Mapping[str, Any], *, rule: str = "percentiles 1") -> np.ndarray:
    """What the network sees: float32 in [0, 1], shape of `voxels`.

    level: what `levels` found in the whole volume (ingest), never in a window: an empty window stays empty and no
    result depends on how the volume was cut. rule: the name of one of LEVELS, as the weights say.
    """
    if rule not in LEVELS:
        raise InputError("weights", f"levels {rule!r}", " | ".join(LEVELS))
    return LEVELS[rule](voxels, level)


def between_percentiles(voxels: np.ndarray, level: Mapping[str, Any]) -> np.ndarray:
    """Square root of the light between level["low"] and level["high"], clipped to [0, 1].

    The square root makes photon noise even and is near the gamma of the photographs that the 2D weights were trained
    on. A constant volume (high <= low) is black.
    """
    low, high = level["low"], level["high"]
    if high <= low:
        return np.zeros(voxels.shape, np.float32)
    light = (voxels.astype(np.float32) - np.float32(low)) * np.float32(1 / (high - low))
    return np.sqrt(np.clip(light, 0, 1, out=light), out=light)


def as_stored(voxels: np.ndarray, level: Mapping[str, Any]) -> np.ndarray:
    """Bytes as shares of 255; anything else linear between level["low"] and level["high"], clipped to [0, 1].

    Electron microscopes' volumes are delivered as bytes with an even contrast: taken as they are.
    """
    if voxels.dtype == np.uint8:
        return voxels.astype(np.float32) / 255
    low, high = level["low"], level["high"]
    return np.clip((voxels.astype(np.float32) - low) / max(high - low, 1e-9), 0, 1)


# Rules by which light becomes grey, named in the header of the weights that were trained with them.
LEVELS: dict[str, Callable[[np.ndarray, Mapping[str, Any]], np.ndarray]] = {
    "percentiles 1": between_percentiles,
    "bytes 1": as_stored,
}


def sample_step(shape_zyx: tuple[int, int, int]) -> int:
    """Every how many-th voxel along each axis gives a sample of about SAMPLE_VOXELS."""
    return int(np.ceil((np.prod(shape_zyx, dtype=float) / SAMPLE_VOXELS) ** (1 / 3)))


def levels(
    sample: np.ndarray, *, minimum: float, maximum: float, percentiles: tuple[float, float]
) -> dict[str, float]:
    """low, high, background and noise of a volume from a (n,) sample of its voxels, in the units of the image.

    low, high: the two percentiles; where they are equal (an image that is empty but for a few voxels) the
    extremes of the whole volume. background: the median, since neurites fill little of a volume. noise:
    1.4826 x the median of (background - voxel) over the voxels not brighter than the background, the sigma of
    a normal distribution that only its dark half determines, so that neurites do not enter. It is 0 for images
    whose background was cleaned to one value.
    """
    low, background, high = (
        float(level) for level in np.percentile(sample, (percentiles[0], 50, percentiles[1]))
    )
    if high <= low:
        low, high = minimum, maximum
    noise = 1.4826 * float(np.median(background - sample[sample <= background].astype(np.float64)))
    return {"low": low, "high": high, "background": background, "noise": noise}
