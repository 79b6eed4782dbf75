"""Does the picture show image and trees in the same place, at one scale, with the errors marked?"""

import json

import matplotlib.image
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from numpy.testing import assert_allclose, assert_array_equal

from pipeline import picture, swc, volume
from pipeline.stages import draw

SIZE = (2.0, 0.5, 0.5)  # um z, y, x


def line(*points_xyz) -> swc.Tree:
    """A path through points in um."""
    count = len(points_xyz)
    return swc.Tree(
        np.array(points_xyz, float), np.ones(count), np.arange(-1, count - 1), np.zeros(count, int)
    )


@pytest.fixture
def tube(tmp_path):
    """A dim volume of 20 x 60 x 80 voxels = 40 x 30 x 40 um with the bright line TRUE, oblique to all axes."""
    values = np.random.default_rng(0).poisson(5, (20, 60, 80)).astype(np.uint8)
    values[tuple(np.linspace((4, 10, 10), (16, 22, 70), 200).round().astype(int).T)] = 200
    array = volume.create(tmp_path / "image.zarr", shape=values.shape, dtype="u1", voxel_size=SIZE)
    for z in volume.slabs(array):
        array[z] = values[z]
    return tmp_path / "image.zarr", values


TRUE = line((5, 5, 8), (35, 11, 32))


def render(figure) -> np.ndarray:
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3] / 255


def near(pixels: np.ndarray, color: str) -> np.ndarray:
    return (np.abs(pixels - to_rgb(color)) < 0.12).all(-1)


def test_projections_are_the_maxima_along_each_axis(tube):
    path, values = tube
    found = picture.projections(volume.open_volume(path).array)
    for axis, projection in enumerate(found):
        assert_array_equal(projection, values.max(axis))


@pytest.mark.parametrize("limit", [7, 20, 21, 100])
def test_pooling_keeps_every_bright_voxel(limit):
    values = np.zeros((20, 33))
    values[13, 29] = 1
    pooled = picture.pool(values, limit)
    assert pooled.max() == 1
    assert max(pooled.shape) <= limit


def test_the_tree_lies_on_the_line_in_all_three_projections(tube):
    array = volume.open_volume(tube[0]).array
    figure = picture.overview(array, SIZE, tree=TRUE)
    drawn = render(figure)
    plain = render(picture.overview(array, SIZE, tree=swc.take(TRUE, np.zeros(0, int))))
    for panel in figure.axes[:3]:
        (left, bottom), (right, top) = panel.get_window_extent().get_points().round().astype(int)
        window = np.s_[len(drawn) - top : len(drawn) - bottom, left:right]
        blue = np.argwhere(near(drawn[window], picture.PREDICTION))
        bright = np.argwhere((plain[window] > 0.7).all(-1))
        pixel_um = np.ptp(panel.get_xlim()) / (right - left)
        assert_allclose(blue.mean(0) * pixel_um, bright.mean(0) * pixel_um, atol=0.5)


def test_all_panels_have_one_scale(tube):
    figure = picture.overview(volume.open_volume(tube[0]).array, SIZE, tree=TRUE)
    scales = []
    for panel in figure.axes[:3]:
        box = panel.get_window_extent()
        scales += [box.width / np.ptp(panel.get_xlim()), box.height / np.ptp(panel.get_ylim())]
    assert_allclose(scales, scales[0])
    bar = figure.axes[3].lines[0].get_xdata()
    assert_allclose((bar[1] - bar[0]) * figure.dpi / scales[0], picture.scale_bar_um(40))


@pytest.mark.parametrize(("width", "bar"), [(40, 10), (169, 20), (7.9, 1), (1000, 200), (0.5, 0.1)])
def test_the_scale_bar_is_round_and_at_most_a_fourth(width, bar):
    assert_allclose(picture.scale_bar_um(width), bar)


def test_cable_is_cut_into_pieces_of_the_same_length():
    tree = line((0, 0, 0), (3, 4, 0), (3, 4, 0.2))
    pieces = picture.cut_edges(tree, step_um=0.5)
    assert len(pieces) == 11
    assert_allclose(np.linalg.norm(pieces[:, 1] - pieces[:, 0], axis=1).sum(), swc.cable_length(tree))
    assert_allclose(pieces[1:, 0], pieces[:-1, 1], atol=1e-12)


def test_what_is_far_from_the_other_tree_is_marked():
    wanted = picture.cut_edges(line((0, 0, 0), (100, 0, 0)))
    found = picture.cut_edges(line((0, 1, 0), (60, 1, 0), (60, 20, 0)))
    missed = picture.far(wanted, found, tolerance_um=1.5)
    false = picture.far(found, wanted, tolerance_um=1.5)
    assert_allclose(missed.sum() * 0.5, 40 - np.sqrt(1.5**2 - 1), atol=0.6)
    assert_allclose(false.sum() * 0.5, 20 - 1.5, atol=0.6)
    assert picture.far(wanted, found[:0], tolerance_um=1.5).all()


def test_missed_and_false_cable_is_thick_and_good_cable_thin(tube):
    array = volume.open_volume(tube[0]).array
    wrong = line((5, 25, 8), (35, 25, 32))
    good, bad = (render(picture.overview(array, SIZE, tree=tree, reference=TRUE)) for tree in (TRUE, wrong))
    for color in (picture.PREDICTION, picture.REFERENCE):
        assert near(bad, color).sum() > 2 * near(good, color).sum()


def test_stage_writes_the_same_bytes_whatever_the_user_s_matplotlibrc(tube, tmp_path):
    import matplotlib

    swc.write(tmp_path / "cell.swc", TRUE)
    (tmp_path / "m.json").write_text(
        json.dumps({"f1": 0.9, "esa": None, "precision": 1.0, "tolerance_um": 2.0})
    )
    options = {"reference": tmp_path / "cell.swc", "metrics": tmp_path / "m.json"}
    draw.run(tube[0], tmp_path / "cell.swc", tmp_path / "a.png", **options)
    with matplotlib.rc_context({"font.size": 25, "savefig.facecolor": "red"}):
        draw.run(tube[0], tmp_path / "cell.swc", tmp_path / "b.png", **options)
    content = (tmp_path / "a.png").read_bytes()
    assert content == (tmp_path / "b.png").read_bytes()
    assert b"tEXt" not in content
    assert matplotlib.image.imread(tmp_path / "a.png").std() > 0


def test_an_empty_tree_is_drawn_as_the_image_alone(tube, tmp_path):
    (tmp_path / "cell.swc").write_text("# nothing found\n")
    draw.run(tube[0], tmp_path / "cell.swc", tmp_path / "a.png")
    assert not near(matplotlib.image.imread(tmp_path / "a.png")[..., :3], picture.PREDICTION)[:-60].any()


@pytest.mark.parametrize("shape", [(2, 1, 1), (2, 300, 3), (300, 3, 3), (3, 4, 2000)])
def test_volumes_of_any_proportion_can_be_drawn(tmp_path, shape):
    array = volume.create(tmp_path / "a.zarr", shape=shape, dtype="f4", voxel_size=(1, 1, 1))
    array[:] = np.random.default_rng(0).random(shape)
    pixels = render(picture.overview(array, (1, 1, 1), tree=line((0, 0, 0), (0, 0, 1)), title="narrow"))
    assert max(pixels.shape) < 3000


@pytest.mark.parametrize(
    ("score", "title"),
    [
        ({}, "OP_7"),
        ({"f1": None, "esa": None}, "OP_7"),
        ({"f1": 0.9612, "precision": 0.97, "recall": 0.95, "esa": 0.831},
         "OP_7     F1 0.961   precision 0.970   recall 0.950   ESA 0.83 µm"),
    ],
)  # fmt: skip
def test_the_title_says_name_and_score(score, title):
    assert draw.caption("OP_7", score) == title


def test_a_benchmark_shows_the_part_where_the_trees_are_in_its_place():
    projection = np.zeros((100, 300), np.uint8)
    projection[40, 250] = 255  # at x 125, y 20 um
    gold = line((110, 15, 0), (125, 20, 0), (130, 35, 0))
    figure = picture.benchmark(gold, {"other": gold}, projection=projection, voxel_size=SIZE, tolerance_um=1)
    assert len(figure.axes) == 2
    for panel in figure.axes:
        [image], vertices = panel.images, np.concatenate(panel.collections[0].get_segments())
        grey, (left, right, bottom, top) = np.asarray(image.get_array()), image.get_extent()
        assert right - left < 30  # of 150 um
        row, column = np.unravel_index(grey.argmax(), grey.shape)
        size = (right - left) / grey.shape[1], (bottom - top) / grey.shape[0]
        bright = left + (column + 0.5) * size[0], top + (row + 0.5) * size[1]
        assert np.linalg.norm(vertices - bright, axis=1).min() < 0.01


@pytest.mark.parametrize("shift", [-500, 30, 500])
def test_a_benchmark_shows_trees_beside_the_projection_too(shift):
    tree = line((10 + shift, 15, 0), (10 + shift, 15, 9), (30 + shift, 15, 9))
    figure = picture.benchmark(
        tree, {"one": tree}, projection=np.zeros((50, 100)), voxel_size=SIZE, tolerance_um=1
    )
    for panel in figure.axes:
        vertices = np.concatenate(panel.collections[0].get_segments())
        (left, right), (bottom, top) = panel.get_xlim(), panel.get_ylim()
        assert left < vertices[:, 0].min()
        assert vertices[:, 0].max() < right
        assert top < 15 < bottom
