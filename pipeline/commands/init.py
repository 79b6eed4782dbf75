"""init: a sample sheet to begin with."""

from pathlib import Path

from pipeline import dataset
from pipeline.dataset.sheet import COLUMNS as ALL
from pipeline.errors import InputError
from pipeline.files import write_text

ABOUT = """\
# The samples of this folder, one a line; cells are separated by tabs, and an empty cell takes the default.
# Lines that begin with "# " are comments. Try it: python -m pipeline check DIR
#
# sample: name of the folder of its results.
# image: path relative to this file; file.h5:/volumes/raw names a data set of an HDF5 file.
# voxel_size: z,y,x in um, e.g. 1.0,0.33,0.33; empty: what the file says, else voxel_size of the config.
# channel, time: of an image of several: a number from 0 (a channel may be named); empty: those of the config.
# reference: SWC of the same neuron to score against (or voxel labels); empty: no scores.
# reference_unit: um | voxel | nm; empty: um.
# root: x,y,z in voxels, where the wanted tree starts; empty: the tracer chooses.
# modality: lm (light microscopy) | em (electron microscopy); empty: that of the config.
"""
# Skeletons belong to dense tissue alone.
COLUMNS = tuple(column for column in ALL if column != "skeletons")


def run(folder: Path, /) -> None:
    """Write a sample sheet with comments for the images of a folder.

    {folder}/samples.tsv has a row for every image below it, with the SWC file of the same name as its reference; an
    existing sheet is never replaced.

    Args:
        folder: of image files.
    """
    sheet = folder / dataset.SHEET
    if sheet.exists():
        raise InputError(sheet, "a sheet is there", "a folder without one")
    samples = dataset.discover(folder, keep_wrong=True, outside=True)
    lines = ["\t".join(COLUMNS)]
    for sample in samples:
        reference = sample.reference.relative_to(folder) if sample.reference else ""
        cells = {"sample": sample.name, "image": sample.image.relative_to(folder), "reference": reference}
        lines.append("\t".join(str(cells.get(column, "")) for column in COLUMNS))
    write_text(sheet, ABOUT + "\n".join(lines) + "\n")
    print(f"{sheet}: {len(samples)} samples")
