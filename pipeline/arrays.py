"""What several rooms do with plain arrays."""

import numpy as np


def spread(count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[2, 1, 3] -> owner [0, 0, 1, 2, 2, 2] and number within the owner [0, 1, 0, 0, 1, 2]."""
    owner = np.repeat(np.arange(len(count)), count)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
