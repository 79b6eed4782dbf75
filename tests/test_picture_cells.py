"""Does the picture of dense cells show each in one colour, and the worst errors where they are?"""

import json

import h5py
import matplotlib.image
import numpy as np
import pytest
from dense import SIZE, along_x, halves
from matplotlib.colors import to_rgb
from numpy.testing import assert_allclose

from pipeline import picture_cells, swc, volume
from pipeline.stages import draw


@pytest.fixture
def pictured(tmp_path):
    """An image, of which one section is lost, its labels, their trees and the truth."""
    grey = np.random.default_rng(0).integers(50, 200, (4, 6, 12)).astype(np.uint8)
    grey[2] = 0
    for name, voxels in (("image", grey), ("labels", halves(1, 1, 2, 2))):
        array = volume.create(
            tmp_path / f"{name}.zarr", shape=grey.shape, dtype=voxels.dtype, voxel_size=SIZE
        )
        array[:] = voxels
    with h5py.File(tmp_path / "a.h5", "w") as stored:
        stored["truth"] = halves(7, 0, 7, 9).astype(np.uint64) << np.uint64(40)
    (tmp_path / "trees").mkdir()
    for name, ends in (("1", (0, 0.055)), ("2", (0.06, 0.11))):
        swc.write(tmp_path / f"trees/{name}.swc", along_x(*ends))
    return tmp_path


def test_the_picture_has_the_same_bytes_each_time_and_shows_the_score(pictured):
    (pictured / "m.json").write_text(json.dumps({"cells": 2, "vi_split": 0.1, "vi_merge": None}))
    for name in ("a.png", "b.png"):
        draw.run(
            pictured / "image.zarr",
            pictured / "trees",
            pictured / name,
            labels=pictured / "labels.zarr",
            reference=f"{pictured}/a.h5:/truth",
            metrics=pictured / "m.json",
        )
    assert (pictured / "a.png").read_bytes() == (pictured / "b.png").read_bytes()
    assert matplotlib.image.imread(pictured / "a.png").std() > 0
    assert (
        draw.cell_caption("x", {"cells": 2, "vi_split": 0.1, "vi_merge": None})
        == "x     2 cells   VI split 0.100"
    )


def captions(figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_the_worst_errors_are_named_where_they_are_seen(pictured):
    image, truth = volume.open_volume(pictured / "image.zarr").array, halves(1, 2)
    truth[3] = 1  # one section is not cut
    figure = picture_cells.overview(image, halves(1, 1), SIZE, trees={}, pieces=truth)
    said = captions(figure)
    assert "no split" in said
    assert next(text for text in said if text.startswith("worst merge")).endswith("2 objects, section 0")
    figure = picture_cells.overview(image, truth, SIZE, trees={}, pieces=halves(1, 1))
    assert any(text.endswith("2 segments, section 0") for text in captions(figure))
    assert "no merge" in captions(figure)
    truth = halves(1, 1)
    truth[2, :, 6:] = 2  # cut in the section alone that has no picture
    said = captions(picture_cells.overview(image, halves(1, 1), SIZE, trees={}, pieces=truth))
    assert any(text.startswith("worst merge") and not text.endswith("section 2") for text in said)


def test_a_lost_section_gives_way_to_its_neighbour(pictured):
    image = volume.open_volume(pictured / "image.zarr").array
    said = captions(picture_cells.overview(image, halves(1), SIZE, trees={}))
    assert said[:3] == ["cells, section 0", "cells, section 1", "cells, section 3"]


def test_a_cell_has_one_colour_in_sections_and_trees(pictured):
    image = volume.open_volume(pictured / "image.zarr").array
    figure = picture_cells.overview(image, halves(1, 2), SIZE, trees={2: along_x(0.06, 0.11)})
    drawn = [axes.collections[0] for axes in figure.axes if axes.collections]
    assert_allclose(drawn[0].get_colors()[0][:3], picture_cells.colours(np.array([2]))[0])
    assert len(np.unique(picture_cells.colours(np.arange(1, 50)).round(3), axis=0)) == 49
    segments = np.concatenate(drawn[1].get_segments())
    assert_allclose(segments[:, 1], 0.02, atol=1e-6)  # x to the right, z down
    assert to_rgb(figure.get_facecolor()) == (0, 0, 0)


@pytest.mark.parametrize("shape", [(2, 1, 1), (3, 900, 4), (60, 5, 5)])
def test_volumes_of_any_proportion_and_without_cells_can_be_drawn(shape):
    image = np.random.default_rng(0).integers(0, 9, shape)
    nothing = np.zeros(shape, np.uint32)
    figure = picture_cells.overview(image, nothing, SIZE, trees={}, pieces=nothing)
    assert {"no split", "no merge"} <= set(captions(figure))
    figure.canvas.draw()
