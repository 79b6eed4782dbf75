"""What a dataset consists of: a sample, what lies beside its image, and what was found wrong with it."""

import os
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from pipeline import images
from pipeline.errors import InputError

SHEET = "samples.tsv"
TREES = (".swc", ".eswc")  # suffixes of trees, in any case; eswc is Vaa3D's
# "a_labels.tif" beside "a.tif" is an annotation of it, not an image.
LABEL_ENDINGS = ("labels", "label", "mask", "masks", "seg", "gt")
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Sample:
    """One image to reconstruct.

    name: of its folder and files in the results. voxel_size: z, y, x in um; None: what the image's metadata or
    the config say. reference: SWC of the same neuron in reference_unit, or (for training and em) a label volume.
    modality: lm or em, "" where nothing is said. skeletons: folder of SWC files of several neurons (electron
    microscopy), in reference_unit.
    channel, time: which of several, as text ("" where nothing is said).
    root: x, y, z in voxels, where the wanted tree starts. problem: what its row of the sheet has wrong, "" if nothing.
    """

    name: str
    image: Path
    voxel_size: Triple | None = None
    reference: Path | None = None
    reference_unit: str = "um"
    root: Triple | None = None
    modality: str = ""
    problem: str = ""
    skeletons: Path | None = None
    channel: str = ""
    time: str = ""

    @property
    def tree(self) -> Path | None:
        """The reference, where it is a tree."""
        return self.reference if self.reference and is_tree(self.reference) else None

    @property
    def labels(self) -> Path | None:
        """The reference, where it is a label volume; else the labels beside the image."""
        return self.reference if self.reference and not self.tree else labels_beside(self.image)

    @property
    def lines(self) -> Path | None:
        """Reference skeletons of a dense volume: a folder of them, or one."""
        return self.skeletons or self.tree

    @property
    def truth(self) -> Path | None:
        """What a training learns of this image: the reference of either kind, else the labels beside the image."""
        return self.reference or labels_beside(self.image)


@dataclass(frozen=True)
class Entry:
    """A row of the sheet or a file: where it is, its name, the sample it makes and what is wrong with it.

    problems: with its name or place, so that no folder can be made for it. wrong: with what is said of it.
    """

    where: str
    name: str
    sample: Sample | None
    problems: list[InputError]
    wrong: list[InputError] = field(default_factory=list)


def is_tree(path: Path) -> bool:
    """Whether a path is that of an SWC file, by its name in any case."""
    return path.suffix.lower() in TREES


def labels_beside(image: Path) -> Path | None:
    """The annotation of an image: a.ome.tif and a_labels.tif, or any other ending and format."""
    stem, here = images.stem(image.name), names_in(image.parent)
    suffixes = images.FORMATS if stem else (*images.FORMATS, "")  # slices of labels beside slices
    stem = stem or image.name
    names = (f"{stem}_{ending}{suffix}" for ending in LABEL_ENDINGS for suffix in suffixes)
    return next((image.with_name(name) for name in names if name in here), None)


def tree_beside(image: Path) -> Path | None:
    """The SWC file of an image's stem, a.swc rather than a.SWC or a.eswc."""
    stem = images.stem(image.name) or image.name
    found = [name for name in names_in(image.parent) if name.startswith(f"{stem}.") and is_tree(Path(name))]
    found = [name for name in found if Path(name).stem == stem]
    return (
        image.with_name(
            min(found, key=lambda name: (TREES.index(Path(name).suffix.lower()), name != name.lower(), name))
        )
        if found
        else None
    )


def names_in(folder: Path) -> frozenset[str]:
    """The names in a folder, none where it is not there."""
    return _listed(folder, folder.stat().st_mtime_ns) if folder.is_dir() else frozenset()


@cache
def _listed(folder: Path, changed: int) -> frozenset[str]:
    """The names in a folder, looked up once for each change of it."""
    return frozenset(os.listdir(folder))
