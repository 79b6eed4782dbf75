"""Does the image tell a branch that is there from one that is not?"""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from pipeline import config, intensity, rasterise
from pipeline.intensity.points import Light
from pipeline.swc import EMPTY, Tree
from pipeline.tracing import confidence, evidence, graph, neuron
from pipeline.tracing.field import Field, Soma
from pipeline.tracing.segment import components

VOXEL = (1.0, 0.4, 0.4)
SHAPE = (24, 80, 160)


@pytest.fixture
def fork() -> Tree:
    """A trunk along x (rows 0..60) that forks (at row 60) into an upper and a lower branch."""
    trunk = np.stack([np.linspace(5, 30, 61), np.full(61, 16.0), np.full(61, 12.0)], 1)
    arms = [
        np.stack([np.linspace(30.4, 55, 60), 16 + side * np.linspace(0.2, 9, 60), np.full(60, 12.0)], 1)
        for side in (-1, 1)
    ]
    xyz = np.concatenate([trunk, *arms])
    parent = np.concatenate([np.arange(-1, 60), [60], np.arange(61, 120), [60], np.arange(121, 180)])
    return Tree(xyz, np.full(181, 0.8), parent, np.zeros(181, np.int64))


def pictured(tree: Tree, *, signal: float, haze: float = 0.0, shape=SHAPE) -> np.ndarray:
    """uint16: `signal` times the noise inside the tubes, on a ramp of haze."""
    noise = np.random.default_rng(0).standard_normal(shape)
    ramp = np.linspace(0, haze, shape[2])
    inside = rasterise.mask(tree, shape, VOXEL)
    return np.rint(200 + 10 * (noise + ramp + signal * inside)).astype(np.uint16)


def field_of(image: np.ndarray, probability: np.ndarray | None = None) -> Field:
    if probability is None:
        probability = np.full(image.shape, 255, np.uint8)
    return Field(probability, VOXEL, Light(image, intensity.measure(image)))


def part(tree: Tree, rows: slice) -> Tree:
    return Tree(tree.xyz[rows], tree.radius[rows], tree.parent[rows], tree.type[rows])


@pytest.mark.parametrize("change", ["none", "step", "hole"])
def test_light_at_points_is_that_of_the_whole_volume(fork, change):
    image = pictured(fork, signal=6, haze=0 if change == "hole" else 40)
    if change == "step":
        image[:, :, SHAPE[2] // 2 :] += 150
        image[:, SHAPE[1] - 16 :] += 150  # between the last two rows of cells
        image += np.arange(SHAPE[2], dtype=image.dtype)
    if change == "hole":
        image = np.where(ndimage.binary_dilation(rasterise.mask(fork, SHAPE, VOXEL), iterations=8), image, 0)
    level = intensity.measure(image)
    level = replace(level, noise=np.full_like(level.noise, level.summary["noise"]))
    assert ("hole" in level.summary) == (change == "hole")
    voxels = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1)
    np.testing.assert_allclose(Light(image, level).at(voxels), intensity.above(image, level), atol=1e-4)


def test_every_branch_has_the_contrast_it_was_painted_with(fork):
    found = evidence.contrast(fork, field_of(pictured(fork, signal=12)))
    assert np.median(found) == pytest.approx(12, abs=2.5)


@pytest.mark.parametrize("haze", [0.0, 15.0])
def test_a_branch_through_nothing_goes_and_the_others_stay(fork, haze):
    field = field_of(pictured(part(fork, slice(0, 121)), signal=6, haze=haze))  # the lower arm is not there
    rows = evidence.lit(fork, field, signal=1.8)
    assert set(range(3, 118)) <= set(rows.tolist())
    assert not set(range(130, 181)) & set(rows.tolist())


def test_the_flank_of_a_bright_neurite_is_no_branch():
    bright = Tree(
        np.array([[5.0, 16, 12], [55, 16, 12]]), np.full(2, 3.0), np.array([-1, 0]), np.zeros(2, int)
    )
    x = np.linspace(8, 50, 60)
    flank = np.stack([x, np.full(60, 19.2), np.full(60, 12.0)], 1)
    line = Tree(flank, np.full(60, 0.4), np.arange(-1, 59), np.zeros(60, np.int64))
    value = evidence.contrast(line, field_of(pictured(bright, signal=30)))
    assert np.median(value) < 5


def test_a_single_slice_is_judged_in_its_plane(fork):
    flat = Tree(fork.xyz * [1, 1, 0], fork.radius, fork.parent, fork.type)
    found = evidence.contrast(flat, field_of(pictured(flat, signal=12, shape=(1, 80, 160))))
    assert np.median(found) > 8


def test_a_network_that_sees_neurite_in_noise_gives_no_tree(fork):
    """The probability says line; the image says nothing; nothing is traced, and all of it without the image."""
    noise = pictured(EMPTY_TUBE, signal=0)
    probability = np.rint(255 * rasterise.mask(fork, SHAPE, VOXEL)).astype(np.uint8)
    labels = components(probability, VOXEL, config.Segment(min_slices=1))
    settings = config.Trace(neurons="all", min_length_um=1)
    assert neuron.trace(labels, field_of(noise, probability), settings).neurons == []
    assert len(neuron.trace(labels, Field(probability, VOXEL), settings).neurons) == 1
    (found,) = neuron.trace(labels, field_of(pictured(fork, signal=6), probability), settings).neurons
    assert found.confidence.shape == (len(found.tree),)


EMPTY_TUBE = Tree(np.array([[-50.0, -50, -50]]), np.ones(1), np.array([-1]), np.zeros(1, np.int64))


def test_a_cleaned_image_is_not_judged(fork):
    image = np.where(rasterise.mask(fork, SHAPE, VOXEL), pictured(fork, signal=20), 0).astype(np.uint16)
    assert evidence.wanted(field_of(image), 1.8) == 0
    assert evidence.wanted(field_of(pictured(fork, signal=6)), 1.8) == 1.8


def test_trees_without_an_edge_have_a_contrast_too():
    one = Tree(np.ones((1, 3)), np.ones(1), np.array([-1]), np.zeros(1, np.int64))
    field = field_of(pictured(EMPTY_TUBE, signal=0))
    assert [len(evidence.contrast(tree, field)) for tree in (EMPTY, one)] == [0, 1]
    assert [len(evidence.lit(tree, field, signal=2)) for tree in (EMPTY, one)] == [0, 0]


def test_the_fit_finds_the_coefficients_that_made_the_data_and_none_of_the_wrong_sign():
    rng = np.random.default_rng(0)
    made = np.column_stack([np.ones(20_000), rng.normal(size=(20_000, 3)), rng.random(20_000) < 0.1])
    odds = made @ [0.5, 1.5, 0.7, -0.8, 0.0]  # longer branches less right: left out
    right = rng.random(20_000) < 1 / (1 + np.exp(-odds))
    found = confidence.fit(made, right, np.ones(20_000))
    assert found["length"] == 0 and found["link"] <= 0
    assert found["probability"] > 1 and found["contrast"] > 0.4
    said = confidence.probability(made, found)
    assert confidence.calibration_error(confidence.reliability(said, right, np.ones(20_000))) < 0.02


def test_calibration_error_by_hand():
    said, right = np.array([0.95, 0.95, 0.15]), np.array([True, False, False])
    rows = confidence.reliability(said, right, np.array([1.0, 1.0, 2.0]))
    assert [row["um"] for row in rows] == [2.0, 2.0]
    assert confidence.calibration_error(rows) == pytest.approx((0.15 * 2 + 0.45 * 2) / 4)


def test_a_long_dim_branch_stays_where_a_short_one_is_noise(fork):
    """Its light is less than what 8 um of it must have, and more than 25 um must."""
    trunk = part(fork, slice(0, 61))
    field = field_of(pictured(trunk, signal=5))
    signal = float(evidence.contrast(trunk, field).mean()) / 1.7
    assert evidence.asked(np.array([25.0, 8.0]), np.full(2, 0.8), signal / 1.7) == pytest.approx(
        signal * np.array([0.89, 1.11]), rel=0.02
    )
    assert len(evidence.lit(trunk, field, signal=signal)) == 61
    short = part(trunk, slice(0, 20))
    assert len(evidence.lit(short, field, signal=signal)) < 20


def test_beside_a_soma_a_branch_keeps_its_contrast(fork):
    """A neurite between two somata has the darkness above and below it alone to be told by."""
    image = pictured(fork, signal=12)
    z, y, x = (axis * size for axis, size in zip(np.ogrid[tuple(map(slice, SHAPE))], VOXEL))
    somata = []
    for centre_y in (8.0, 24.0):
        image[(z - 12) ** 2 + (y - centre_y) ** 2 + (x - 16) ** 2 < 36] += 500
        somata.append(Soma((16.0, centre_y, 12.0), 6.0, 50.0))
    bare = field_of(image)
    beside = slice(20, 36)
    unknown = np.median(evidence.contrast(fork, bare)[beside])
    known = np.median(evidence.contrast(fork, replace(bare, somata=tuple(somata)))[beside])
    assert unknown < 1 and known == pytest.approx(12, abs=3)


def test_a_bright_neurite_lends_a_dark_tail_no_light(fork):
    bright = part(fork, slice(0, 61))
    tail = np.stack([np.linspace(30.4, 43, 32), np.full(32, 16.0), np.full(32, 12.0)], 1)
    whole = Tree(
        np.concatenate([bright.xyz, tail]), np.full(93, 0.8), np.arange(-1, 92), np.zeros(93, np.int64)
    )
    kept = whole.xyz[evidence.lit(whole, field_of(pictured(bright, signal=30)), signal=2.4), 0]
    assert 30 <= kept.max() < 36


def test_what_is_lit_does_not_depend_on_the_root(fork):
    trunk = part(fork, slice(0, 61))
    field = field_of(pictured(trunk, signal=5))
    signal = float(evidence.contrast(trunk, field).mean()) / 1.7
    for root in (0, 15, 30):
        tree = graph.rooted(trunk.xyz, trunk.radius, graph.edges(trunk), root=root)
        assert len(evidence.lit(tree, field, signal=signal)) == 61


FADING = np.linspace(100, 20, 10)


@pytest.mark.parametrize(
    ("from_um", "to_um", "aside_um", "light", "stays"),
    [
        (12, 16, 0.5, FADING, False),
        (12, 8, 0.5, FADING, False),
        (12, 16, 0.5, np.full(10, 80), True),  # a neurite along z
        (12, 16, 0.5, np.full(10, 45), True),  # a thin one
        (12, 16, 0.5, [100] * 9 + [40], True),  # one whose tip was drawn a little too far
        (12, 16, 3.0, FADING, True),  # one that leaves the spot sideways
        (12, 2, 0.5, FADING, True),  # longer than blur
        (18, 22.4, 0.5, FADING, True),  # who knows how it goes on outside
        (4, 0.6, 0.5, FADING, True),
    ],
)
def test_a_column_that_fades_above_a_bright_spot_is_no_branch(from_um, to_um, aside_um, light, stays):
    trunk = np.stack([np.linspace(5, 45, 41), np.full(41, 16.0), np.full(41, from_um)], 1)
    column = trunk[20] + np.linspace(0.1, 1, 10)[:, None] * [aside_um, 0, to_um - from_um]
    parent = np.concatenate([np.arange(-1, 40), [20], np.arange(41, 50)])
    tree = Tree(np.concatenate([trunk, column]), np.full(51, 0.8), parent, np.zeros(51, np.int64))
    image = pictured(part(tree, slice(0, 41)), signal=100)
    x, y, z = np.rint(column / VOXEL[::-1]).astype(int).T
    for row, bright in enumerate(light):
        image[z[row], y[row] - 2 : y[row] + 3, x[row] - 2 : x[row] + 3] = 200 + 10 * bright
    kept = evidence.unblurred(tree, field_of(image))
    assert len(kept) == (51 if stays else 41)
    assert set(range(41)) <= set(kept)
    assert len(evidence.unblurred(tree, Field(np.full(SHAPE, 255, np.uint8), VOXEL))) == 51


def test_a_root_on_a_bright_spot_keeps_its_line():
    """A line along z, hung from its brightest place: no branch starts there."""
    z = np.linspace(8, 16, 17)
    xyz = np.stack([np.full(17, 30.0), np.full(17, 16.0), z], 1)
    line = Tree(
        xyz, np.full(17, 0.8), np.concatenate([np.arange(1, 9), [-1], np.arange(8, 16)]), np.zeros(17, int)
    )
    image = pictured(line, signal=1)
    for slice_ in range(8, 17):
        image[slice_, 38:43, 73:78] = 200 + 1000 * 0.6 ** abs(slice_ - 12)
    assert len(evidence.unblurred(line, field_of(image))) == 17


def test_a_component_reaches_further_where_the_image_shows_light():
    """A line that is probable at one end and likely along the rest, half of which is lit."""
    probability = np.zeros(SHAPE, np.uint8)
    line = probability[10:13, 38:41]
    line[..., 20:60], line[..., 60:140] = 255, 100
    image = np.rint(200 + 10 * np.random.default_rng(0).standard_normal(SHAPE)).astype(np.uint16)
    image[10:13, 38:41, 20:100] += 80
    light = Light(image, intensity.measure(image))

    def ends_at(**changes) -> int:
        settings = config.Segment(**changes)
        return int(np.flatnonzero(components(probability, VOXEL, settings, light=light).any((0, 1))).max())

    assert ends_at() in range(99, 104)  # noise is light here and there
    assert ends_at(dim=0.5) == 59
    assert ends_at(dim=0.4) == 59  # less probable than that
    assert ends_at(dim_signal=12.0) in range(59, 64)
    assert components(probability, VOXEL, config.Segment())[..., 60:].max() == 0
