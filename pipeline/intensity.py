"""From counts of a detector to the grey that the network sees: one rule for training and inference."""

import numpy as np


def grey(voxels: np.ndarray, low: float, high: float) -> np.ndarray:
    """Square root of the light between `low` and `high`, clipped to [0, 1]; float32, shape of `voxels`.

    The two numbers belong to the whole volume (ingest), never to a window: an empty window stays empty and no
    result depends on how the volume was cut. The square root makes photon noise even and is near the gamma of
    the photographs that the 2D weights were trained on. A constant volume (high <= low) is black.
    """
    if high <= low:
        return np.zeros(voxels.shape, np.float32)
    light = (voxels.astype(np.float32) - np.float32(low)) * np.float32(1 / (high - low))
    return np.sqrt(np.clip(light, 0, 1, out=light), out=light)
