"""Pictures to pre-train on: photographs in folders and tar files, planes of ingested stacks."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from pipeline.errors import InputError
from pipeline.training.crops import Pictures

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
# Short and longest side in pixels: a picture is made smaller to the one and cut in its middle to the other.
SHORT, LONG = 128, 168
# Planes of stacks are cut into squares of LONG pixels; one shows something where a thousandth of it is as grey.
SHOWN, SHARE = 0.4, 0.999


def read_pictures(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """(name within the folder or tar file, (y, x, 3) uint8) of every picture in it, by name.

    Raises InputError for a path that is neither, holds none, or for a picture that cannot be read.
    """
    from skimage.io import imread

    found = False
    for name, data in _files(path):
        if not name.lower().endswith(SUFFIXES):
            continue
        found = True
        try:
            picture = np.asarray(imread(io.BytesIO(data)))
        except (OSError, ValueError, SyntaxError) as error:
            raise InputError(f"{path}: {name}", f"no picture ({error})", ", ".join(SUFFIXES)) from error
        yield name, smaller(_rgb(picture, f"{path}: {name}"))
    if not found:
        raise InputError(path, "no picture in it", f"a folder or tar file of {', '.join(SUFFIXES)}")


def read_planes(grey: np.ndarray) -> Iterator[np.ndarray]:
    """Squares (LONG, LONG, 3) uint8 of planes (z, y, x) of grey in [0, 1] that show something."""
    for plane in grey:
        for y in range(0, max(plane.shape[0] - LONG, 0) + 1, LONG):
            for x in range(0, max(plane.shape[1] - LONG, 0) + 1, LONG):
                square = plane[y : y + LONG, x : x + LONG]
                if np.quantile(square, SHARE) >= SHOWN:
                    yield np.repeat(np.rint(square * 255).astype(np.uint8)[..., None], 3, 2)


def gathered(pictures: list[np.ndarray]) -> Pictures:
    """Pictures (y, x, 3) uint8 of at most LONG pixels a side as one array."""
    rgb = np.zeros((len(pictures), 3, LONG, LONG), np.uint8)
    for place, picture in zip(rgb, pictures):
        place[:, : picture.shape[0], : picture.shape[1]] = picture.transpose(2, 0, 1)
    return Pictures(torch.from_numpy(rgb), torch.tensor([picture.shape[:2] for picture in pictures]))


def smaller(picture: np.ndarray) -> np.ndarray:
    """(y, x, 3) uint8 whose short side has at most SHORT pixels and whose long one at most LONG, cut in the middle."""
    from skimage.transform import resize

    short = min(picture.shape[:2])
    if short > SHORT:
        size = tuple(max(SHORT, round(side * SHORT / short)) for side in picture.shape[:2])
        picture = np.rint(resize(picture / 255, size, order=1, anti_aliasing=True) * 255).astype(np.uint8)
    low = [max(0, (side - LONG) // 2) for side in picture.shape[:2]]
    return picture[low[0] : low[0] + LONG, low[1] : low[1] + LONG]


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file():
                yield str(file.relative_to(path)), file.read_bytes()
        return
    if not path.is_file() or not tarfile.is_tarfile(path):
        raise InputError(path, "no such folder or tar file", f"a folder or tar file of {', '.join(SUFFIXES)}")
    with tarfile.open(path) as tar:
        for member in sorted(tar.getmembers(), key=lambda member: member.name):
            data = tar.extractfile(member) if member.isfile() else None
            if data is not None:
                yield member.name, data.read()


def _rgb(picture: np.ndarray, where: str) -> np.ndarray:
    if picture.dtype != np.uint8 or picture.ndim not in (2, 3) or min(picture.shape[:2]) < 2:
        raise InputError(where, f"{picture.dtype}, shape {picture.shape}", "8 bits, grey or RGB")
    if picture.ndim == 2 or picture.shape[2] == 1:
        return np.repeat(picture.reshape(*picture.shape[:2], 1), 3, 2)
    return picture[..., :3]
