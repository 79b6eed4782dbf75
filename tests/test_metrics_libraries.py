"""Where docs/metrics.md says that a library disagrees: does it still? When a release repairs it, mend the table."""

import numpy as np
import pytest

from conftest import tree_of
from pipeline import swc
from pipeline.errors import InputError
from pipeline.metrics import labels, masks, nodes, shape
from pipeline.metrics.distance import Edges

STAR = [
    [0, 0, 0, -1],
    *[[x * t, y * t, 0, -1] for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1)) for t in range(1, 51)],
]


@pytest.fixture
def navis():
    navis = pytest.importorskip("navis")
    navis.config.pbar_hide = True
    return navis


def star():
    rows = [list(row) for row in STAR]
    for number in range(1, len(rows)):
        rows[number][3] = 0 if (number - 1) % 50 == 0 else number - 1
    return tree_of(rows)


def written(tmp_path, tree):
    swc.write(tmp_path / "tree.swc", tree)
    return tmp_path / "tree.swc"


def test_sholl_of_a_star_from_its_root(tmp_path, navis):
    tree = star()
    radii = np.arange(2.5, 45, 10)
    assert (shape.sholl_crossings(Edges(tree), np.zeros(3), radii) == 4).all()
    theirs = navis.sholl_analysis(
        navis.read_swc(written(tmp_path, tree)), radii=radii.tolist(), center="root"
    )
    assert theirs.intersections.sum() == 0


@pytest.mark.parametrize("center", [[0, 0, 0], "centermass"])
def test_sholl_around_a_given_point(tmp_path, navis, center):
    neuron = navis.read_swc(written(tmp_path, star()))
    with pytest.raises(ValueError, match="truth value"):
        navis.sholl_analysis(neuron, radii=[2, 5], center=center)


def test_tabs_among_runs_of_spaces(tmp_path, navis):
    path = tmp_path / "tabs.swc"
    path.write_text("1 1 0 0 0 1 -1\n2\t3   1  0 0 1\t1\n3 3\t2 0 0   1 2\n")
    with pytest.raises(navis.io.base.ReadError):
        navis.read_swc(path)
    assert len(swc.read(path)) == 3


def test_tips_of_a_y_wherever_its_root_is(tmp_path, navis):
    at_tip = tree_of([[0, 0, 0, -1], [5, 0, 0, 0], [9, 3, 0, 1], [9, -3, 0, 1]])
    at_branch = tree_of([[5, 0, 0, -1], [0, 0, 0, 0], [9, 3, 0, 0], [9, -3, 0, 0]])
    assert [len(nodes.tips(tree)) for tree in (at_tip, at_branch)] == [3, 3]
    assert [navis.read_swc(written(tmp_path, tree)).n_leafs for tree in (at_tip, at_branch)] == [2, 3]


@pytest.mark.parametrize(
    "text",
    ["1 1 0 0 0 1 -1\n2 3 1 0 0 1 99\n", "1 1 0 0 0 1 -1\n2 3 1 0 0 1 4\n3 3 2 0 0 1 2\n4 3 3 0 0 1 3\n"],
)
def test_dangling_parents_and_cycles(tmp_path, navis, text):
    path = tmp_path / "bad.swc"
    path.write_text(text)
    navis.read_swc(path)  # no complaint
    with pytest.raises(InputError):
        swc.read(path)


def test_nblast_depends_on_the_direction(tmp_path, navis):
    y = tree_of([[0, 0, 0, -1], [50, 0, 0, 0], [90, 30, 0, 1], [90, -30, 0, 1]])
    props = [
        navis.make_dotprops(navis.read_swc(written(tmp_path, tree)), k=5, resample=1) for tree in (star(), y)
    ]
    there, back = (navis.nblast(*pair, n_cores=1, progress=False).iloc[0, 0] for pair in (props, props[::-1]))
    assert abs(there - back) > 0.05


def test_a_rod_of_even_thickness_thins_to_nothing():
    from skimage.morphology import skeletonize

    rod = np.zeros((6, 6, 44), bool)
    rod[2:4, 2:4, 2:42] = True
    assert not skeletonize(rod).any()
    assert masks.cldice(rod, rod)["cldice"] == 1


def test_precision_of_a_pure_merge():
    from skimage.metrics import adapted_rand_error

    truth, merged = np.repeat([1, 2], 4), np.full(8, 4)
    error, precision, recall = adapted_rand_error(truth, merged)
    assert (error, precision, recall) == (pytest.approx(0.4), 1, pytest.approx(3 / 7))
    found = labels.scores(merged, truth)
    assert (found["precision"], found["recall"]) == (pytest.approx(3 / 7), 1)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_the_rand_error_of_voxels_that_are_all_alone():
    from skimage.metrics import adapted_rand_error

    alone = np.arange(1, 9)
    assert np.isnan(adapted_rand_error(alone, alone)[0])
    assert "no two voxels" in labels.scores(alone, alone)["are_skimage_reason"]
