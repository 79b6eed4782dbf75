"""Sample sheets for tests of datasets."""

from pathlib import Path

import pytest

from pipeline.dataset import discover
from pipeline.errors import InputError


def write_sheet(folder: Path, *rows: str, header: str = "sample image voxel_size") -> None:
    """Cells are separated by spaces here, "_" is an empty cell."""
    lines = [
        "\t".join(cell.replace("_", "", cell == "_") for cell in row.split(" ")) for row in (header, *rows)
    ]
    (folder / "samples.tsv").write_text("\n".join(lines) + "\n")


def problems(folder: Path) -> list[str]:
    """The lines of the error that a dataset is refused with."""
    with pytest.raises(InputError) as error:
        discover(folder)
    return str(error.value).splitlines()
