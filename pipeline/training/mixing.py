"""Two domains in one crop: amplitudes of another volume's spectrum, or a box of another crop.

Both from Zhang et al. 2024, *SegNeuron*. Networks for electron microscopy learn the look of one tissue block;
mixing shows them a structure under another block's grey, and two looks in one picture.
"""

import numpy as np


def mix_frequencies(source: np.ndarray, donor: np.ndarray, *, share: float = 0.01) -> np.ndarray:
    """`source` with the donor's low-frequency amplitudes, slice by slice; its phases stay, so its shapes do.

    source, donor: (D, H, W) in [0, 1], one shape. share: the square |fy|, |fx| <= floor(share * min(H, W)) is
    replaced; the release has .001, which at 128 pixels is the slice's mean alone. Return float32 in [0, 1].
    Grey must not be centred on zero: the sign of a mean would sit in the phase.
    """
    return np.clip(_swap_amplitudes(source, donor, share), 0, 1).astype(np.float32)


def _swap_amplitudes(source: np.ndarray, donor: np.ndarray, share: float) -> np.ndarray:
    height, width = source.shape[1:]
    reach = int(share * min(height, width))
    rows, columns = (np.abs(np.fft.fftfreq(side) * side) <= reach + 0.5 for side in (height, width))
    square = np.ix_(range(len(source)), np.flatnonzero(rows), np.flatnonzero(columns))
    own = np.fft.fft2(source)
    amplitude = np.abs(np.fft.fft2(donor)[square])
    own[square] = amplitude * np.exp(1j * np.angle(own[square]))
    return np.fft.ifft2(own).real


def draw_box(rng: np.random.Generator, shape: tuple[int, ...], side: int) -> tuple[slice, slice, slice]:
    """A box of full depth and side x side pixels somewhere in a crop of `shape` (D, H, W)."""
    top, left = (int(rng.integers(0, max(length - side, 0) + 1)) for length in shape[1:])
    return slice(None), slice(top, top + side), slice(left, left + side)


def cut_mix(
    first: tuple[np.ndarray, ...], second: tuple[np.ndarray, ...], box: tuple[slice, slice, slice]
) -> tuple[np.ndarray, ...]:
    """`first` with `second` inside the box: image, targets, validity, each (..., D, H, W), mixed alike.

    Affinities are mixed, never labels: the ids of two crops have nothing to do with each other, and the seam is no
    membrane.
    """
    mixed = tuple(part.copy() for part in first)
    for part, other in zip(mixed, second, strict=True):
        part[(..., *box)] = other[(..., *box)]
    return mixed
