"""A dataset without a sheet: which files below a folder are images, and what each is called."""

import os
from collections.abc import Iterator
from pathlib import Path

from pipeline import images
from pipeline.dataset.names import name_problems, outside_problems, safe_name
from pipeline.dataset.sample import LABEL_ENDINGS, SHEET, Entry, Sample, tree_beside
from pipeline.errors import InputError
from pipeline.images.folders import parts, slices

# Volumes in the folder of a sample of a run.
MADE = ("image.zarr", "prediction.zarr", "labels.zarr")


def passed_over(folder: Path, results: Path | None = None) -> list[str]:
    """Paths below `folder` of images of formats that are not read, to be told; none where a sheet names the images."""
    if (folder / SHEET).exists() or not folder.is_dir():
        return []
    found = []
    for here, _, files in _walk(folder, results and results.resolve()):
        if not (here / "metrics.json").exists():  # pictures that another run has made
            found += [
                str((here / name).relative_to(folder)) for name in sorted(files) if images.is_unread(name)
            ]
    return found


def find_images(folder: Path, results: Path | None, *, outside: bool) -> Iterator[Entry]:
    """Every image below a folder, each with a name that is its own; what is wrong with one is told of that one."""
    found = list(_image_paths(folder, results and results.resolve()))
    plain = ["__".join((*path.relative_to(folder).parts[:-1], _stem(path))) for path, _ in found]
    taken = {name for name in plain if not any(name_problems(name))}
    for (image, misplaced), name in zip(found, plain):
        allowed = f"rename the file, or give it a name in {folder / SHEET}"
        wrong = [InputError(image, problem, allowed) for problem in name_problems(name)]
        if wrong:  # the image fails alone, in a folder and a row of the table of this name
            name = safe_name(name, taken)
            taken.add(name)
        else:
            problems, leaves = outside_problems(
                folder, image.relative_to(folder), where=str(image), allowed=outside
            )
            wrong = problems + leaves + ([misplaced] if misplaced else [])
        said = "; ".join(map(str, wrong))
        # Slices in the dataset itself: their tree lies there too.
        reference = tree_beside(image / _stem(image) if image == folder else image)
        sample = Sample(name, image, reference=reference, problem=said)
        yield Entry(str(image), name, sample, [], wrong)


def _stem(image: Path) -> str:
    """The name of an image without its suffix; of a folder of slices, of the folder."""
    return images.stem(image.name) or image.resolve().name


def _walk(folder: Path, results: Path | None) -> Iterator[tuple[Path, list[str], list[str]]]:
    """(folder, image folders in it, files) below `folder`, sorted, but for what is hidden, results or an image."""
    for parent, folders, files in os.walk(folder):
        here = Path(parent)
        made = {name for name in folders if _is_made(here, name)}
        volumes = [name for name in folders if images.stem(name) and name[0] != "." and name not in made]
        folders[:] = sorted(
            name
            for name in folders
            if name not in volumes
            and name not in made
            and name[0] != "."
            and (here / name).resolve() != results
            and not (name == "demo_dataset" and (here / "samples.json").exists())
        )
        yield here, volumes, [name for name in files if name[0] != "."]


def _image_paths(folder: Path, results: Path | None) -> Iterator[tuple[Path, InputError | None]]:
    """Images, and what is wrong with where they lie; slices are one image, an OME-TIFF in several files too."""
    for here, volumes, files in _walk(folder, results):
        names = {name for name in (*files, *volumes) if images.stem(name)}
        names -= parts(here, names)
        stems = {images.stem(name) for name in names}
        found = [name for name in sorted(names) if not _is_label(images.stem(name), stems)]
        stacks = slices(here, found)
        if not stacks:
            yield from ((here / name, None) for name in found)
        elif len(stacks[0]) == len(found):
            base, _, ending = here.name.rpartition("_")
            if here == folder or ending.lower() not in LABEL_ENDINGS or not (here.parent / base).is_dir():
                yield here, None
        else:
            said = ", ".join(f"{stack[0]} to {stack[-1]}" for stack in stacks[:4])
            allowed = f"each stack of slices in a folder of its own, or {SHEET} with a row for each image"
            yield here, InputError(here, f"slices ({said}) beside other images", allowed)


def _is_made(folder: Path, name: str) -> bool:
    """Whether a run of ours has made this volume: results may lie in the dataset, or be the same folder."""
    return name in MADE and any(
        (folder / "log" / f"{stage}.txt").exists() for stage in ("ingest", "tile", "stack")
    )


def _is_label(stem: str, stems: set[str]) -> bool:
    base, _, ending = stem.rpartition("_")
    return ending.lower() in LABEL_ENDINGS and base in stems
