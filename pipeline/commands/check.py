"""check: every image and every line of a dataset, before the work."""

import math
import warnings as caught
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import dataset, images
from pipeline.commands import aligned
from pipeline.config import Modality, parse_triple
from pipeline.dataset import Sample
from pipeline.errors import FileWarning, InputError
from pipeline.files import format_table, write_text
from pipeline.images.source import VoxelSize, check_plausible, choose_voxel_size, doubt, sizes

LOOKED_AT = 2_000_000  # voxels of an image that its levels are measured in: a tenth of a second
MANY = 40  # of more samples only those are shown that something is said of
COLUMNS = (
    "sample",
    "format",
    "shape (z,y,x)",
    "voxels",
    "um (z,y,x)",
    "background",
    "noise",
    "what is wrong",
)


@dataclass(frozen=True)
class Row:
    """What was found of a sample. said: mistakes and warnings. failed: whether a run would fail it."""

    sample: str
    format: str = ""
    shape: str = ""
    dtype: str = ""
    voxel_um: str = ""
    background: str = ""
    noise: str = ""
    said: tuple[str, ...] = ()
    failed: bool = False


def run(
    folder: Path,
    /,
    *,
    voxel_size: str = "",
    channel: str = "",
    time: str = "",
    modality: Modality = "lm",
    outside: bool = False,
    results: Path | None = None,
    output: Path | None = None,
) -> int:
    """Look at every image and every line of a dataset before a run.

    Prints a table: format, shape, voxel size, levels of some planes in the middle, and everything that a run would
    fail or warn of, in the images, their references and the sample sheet. Headers and a few planes are read, so that
    it takes seconds. The exit status is 1 where a sample would fail, with --output 0.

    Args:
        folder: of image files, with or without samples.tsv.
        voxel_size: z,y,x in um for images that say none, as in the config.
        channel: number (from 0) or name of the channel of images that hold several, as in the config.
        time: number (from 0) of the time point of images that hold several, as in the config.
        modality: lm | em, where the sheet does not say.
        outside: images may lie outside the folder, as in the config.
        results: folder of a run, whose files are no images.
        output: TSV of the table to write too.
    """
    fallback = parse_triple("--voxel-size", voxel_size)
    samples, problems = dataset.look(folder, results=results, outside=outside)
    in_rows = " ".join(sample.problem for sample in samples)
    problems = [problem for problem in problems if problem not in in_rows]
    for problem in problems:
        print(problem)
    if left_out := dataset.passed_over(folder, results):
        print(f"passed over, of formats that are not read: {', '.join(left_out)}")
    rows = [_row(sample, fallback, modality, (channel, time)) for sample in samples]
    shown = rows if len(rows) <= MANY else [row for row in rows if row.said]
    lines: list[tuple[object, ...]] = [COLUMNS]
    for row in shown:
        said = row.said or ("",)
        lines.append(
            (row.sample, row.format, row.shape, row.dtype, row.voxel_um, row.background, row.noise, said[0])
        )
        lines += [("", "", "", "", "", "", "", more) for more in said[1:]]
    if shown:
        print(aligned(lines), end="")
    failed = sum(row.failed for row in rows)
    doubted = sum(bool(row.said) for row in rows) - failed
    print(f"{folder}: {len(rows)} samples, {failed} would fail, {doubted} with a warning")
    if problems:
        print(f"{len(problems)} more mistakes in names and {dataset.SHEET}, above")
    if output:
        write_text(output, format_table([vars(row) | {"said": "; ".join(row.said)} for row in rows]))
        return 0
    return 1 if failed or problems else 0


def _row(sample: Sample, fallback: VoxelSize | None, modality: str, usual: tuple[str, str]) -> Row:
    file, within = images.split(sample.image)
    stem = images.stem(file.name)
    kind = file.name[len(stem) :].lstrip(".").lower() if stem else images.SLICES
    kind += f":{within}" if within else ""
    if sample.problem:
        return Row(sample.name, kind, said=(sample.problem,), failed=True)
    try:
        source = images.open_image(sample.image, channel=sample.channel, time=sample.time, usual=usual)
    except InputError as error:
        return Row(sample.name, kind, said=(str(error),), failed=True)
    mistakes: list[str] = []
    warnings, modality = list(source.notes), sample.modality or modality
    size: VoxelSize | None = None
    try:
        size, remarks = choose_voxel_size("voxel size", source, given=sample.voxel_size, fallback=fallback)
        warnings += remarks
        check_plausible("voxel size", size, modality)
    except InputError as error:
        mistakes.append(str(error))
    warnings += ["one plane: reconstructed in plane, without depth"] if source.shape[0] == 1 else []
    level: dict[str, Any] = {}
    try:
        level, odd = levels(source)
        warnings += odd if modality == "lm" else []
    except InputError as error:
        mistakes.append(str(error))
    if size and not mistakes:
        if odd_size := doubt(size, modality):
            warnings.append(odd_size.removeprefix("warning: "))
        with caught.catch_warnings(record=True) as told:
            caught.simplefilter("always", FileWarning)
            mistakes += _reference(sample, source.shape, size)
        warnings += [str(one.message) for one in told if issubclass(one.category, FileWarning)]
    return Row(
        sample.name,
        kind,
        sizes(source.shape),
        str(source.dtype),
        " ".join(f"{edge:g}" for edge in size) if size else "",
        f"{level['background']:g}" if level else "",
        f"{level['noise']:.3g}" if level else "",
        tuple(mistakes + warnings),
        bool(mistakes),
    )


def levels(source) -> tuple[dict[str, float], list[str]]:
    """Levels of some planes in the middle and what is odd about them; InputError where they hold no finite numbers."""
    from pipeline import intensity

    planes = max(1, min(source.shape[0], LOOKED_AT // max(1, math.prod(source.shape[1:]))))
    first = (source.shape[0] - planes) // 2
    voxels = np.ascontiguousarray(source.array[first : first + planes])
    if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
        raise InputError(
            "voxels", f"NaN or infinite among planes {first} to {first + planes - 1}", "finite numbers"
        )
    if voxels.min() == voxels.max():
        if planes == source.shape[0]:
            raise InputError("voxels", f"all are {voxels.min():g}", "an image with contrast")
        return {}, [f"planes {first} to {first + planes - 1} are all {voxels.min():g}"]
    level = intensity.measure(voxels)
    return level.summary, intensity.doubts(level.summary)


def _reference(sample: Sample, shape: tuple[int, ...], size: VoxelSize) -> list[str]:
    """What is wrong with what a sample is scored against and with its root."""
    from pipeline import scoring, swc

    said = []
    if sample.root and not all(-0.5 <= at < edge for at, edge in zip(sample.root[::-1], shape)):
        said.append(f"root {_joined(sample.root)} (x,y,z in voxels) lies outside the image")
    try:
        if sample.tree:
            tree = swc.read(sample.tree, unit=sample.reference_unit, voxel_size=size)
            scoring.require_inside(sample.tree, swc.um_to_voxel(tree.xyz, size), shape)
        elif sample.labels:
            found = images.open_image(sample.labels).shape
            if tuple(found) != tuple(shape):
                said.append(
                    f"{sample.labels}: {sizes(found)} labels; allowed: {sizes(shape)}, as the image has"
                )
    except InputError as error:
        said.append(str(error))
    return said


def _joined(triple: tuple[float, ...]) -> str:
    return ",".join(f"{number:g}" for number in triple)
