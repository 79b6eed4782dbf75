"""A folder of gold standards and tracings by many tools -> neurons: what the benchmark is about.

    {neuron}/gold.swc            the reference
    {neuron}/auto/{tracer}.swc   tracings of it; a tracer is added by dropping files in (.eswc too, in any case)
    {neuron}/mip.png             optional: maximum projection along z, column x, row y
    neurons.tsv                  optional: columns neuron, species, voxel_size (z,y,x um)

Trees of a neuron whose voxel size is known are in voxels, others in um.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import parse_triple
from pipeline.dataset import is_tree
from pipeline.errors import InputError

SHEET = "neurons.tsv"
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Neuron:
    """voxel_size: z, y, x in um, or None when the trees are in um. tracings: by name of the tracer, sorted."""

    name: str
    gold: Path
    tracings: dict[str, Path]
    species: str = UNKNOWN
    voxel_size: tuple[float, float, float] | None = None

    @property
    def projection(self) -> Path | None:
        """Picture of the image, if there is one."""
        path = self.gold.with_name("mip.png")
        return path if path.exists() else None

    @property
    def unit(self) -> str:
        """Unit of the files: voxel | um."""
        return "voxel" if self.voxel_size else "um"

    @property
    def options(self) -> str:
        """Unit and voxel size as options of evaluate."""
        if self.voxel_size is None:
            return "--unit=um"
        return "--unit=voxel --voxel-size=" + ",".join(f"{size:g}" for size in self.voxel_size)


def discover(folder: Path) -> list[Neuron]:
    """Every neuron below `folder` with a gold standard and a tracing, by name."""
    folder = Path(folder)
    sheet = _read_sheet(folder / SHEET)
    neurons = []
    for gold in sorted(path for path in folder.glob("*/gold.*") if path.stem == "gold" and is_tree(path)):
        tracings = {path.stem: path for path in sorted(gold.parent.glob("auto/*")) if is_tree(path)}
        if tracings:
            species, voxel_size = sheet.get(gold.parent.name, (UNKNOWN, None))
            neurons.append(Neuron(gold.parent.name, gold, tracings, species, voxel_size))
    return neurons


def _read_sheet(path: Path) -> dict[str, tuple[str, tuple[float, float, float] | None]]:
    """{neuron: (species, voxel size)}; empty without a sheet."""
    if not path.exists():
        return {}
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        if "neuron" not in (rows.fieldnames or ()):
            raise InputError(path, f"columns {', '.join(rows.fieldnames or ())}", "a column neuron")
        return {
            row["neuron"]: (
                row.get("species") or UNKNOWN,
                parse_triple(f"{path}: voxel_size of {row['neuron']}", row.get("voxel_size") or ""),
            )
            for row in rows
        }
