"""Small volumes of cells, lines in them, and the command that scores them."""

import json

import numpy as np

from conftest import line
from pipeline import swc
from pipeline.__main__ import main

SIZE = (0.01, 0.01, 0.01)


def halves(*names) -> np.ndarray:
    """uint32 (4, 6, 12): blocks of equal width side by side in x."""
    return np.repeat(np.array(names, np.uint32), 12 // len(names)) * np.ones((4, 6, 1), np.uint32)


def along_x(first: float, last: float, *, y: float = 0.03) -> swc.Tree:
    """A line at z 0.02 um in `halves`, whose 12 voxels of 10 nm end at 0.115 um."""
    return line((first, y, 0.02), (last, y, 0.02), pieces=12)


def evaluate(tmp_path, *arguments):
    """The scores that the command evaluate writes; its exit code where it refuses."""
    status = main(["evaluate", *map(str, arguments), "--output", str(tmp_path / "m.json")])
    return json.loads((tmp_path / "m.json").read_text()) if status == 0 else status
