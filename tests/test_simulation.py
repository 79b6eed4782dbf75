"""Simulated neurons and images: known answers about trees, optics and the camera."""

import hashlib

import numpy as np
import pytest
from scipy import ndimage

from pipeline import config, dataset, images, swc
from pipeline.rasterise import mask
from pipeline.simulation import Camera, Staining, grow, random_scene, random_voxel_size, render
from pipeline.simulation.demo import demo_neuron
from pipeline.simulation.render import dye, expose, fluorescence, stain_gain
from pipeline.simulation.scene import axons_in_tissue
from pipeline.stages import simulate
from pipeline.swc import Tree, um_to_voxel

EXTENT_UM = (90.0, 70.0, 40.0)
VOXEL_SIZE = (0.8, 0.33, 0.4)  # z, y, x: three different numbers, so that a swap of axes shows
SHAPE_ZYX = (40, 72, 64)
STYLES = ("projection", "multipolar", "fibre")
EVEN = Staining()


def straight(start, end, *, radius=0.5) -> Tree:
    """A tube of even radius from start to end (x, y, z um) in 60 nodes."""
    t = np.linspace(0, 1, 60)[:, None]
    xyz = (1 - t) * np.asarray(start, float) + t * np.asarray(end, float)
    return Tree(xyz, np.full(60, radius), np.arange(-1, 59), np.full(60, 2))


def lit(tree, *, psf_um=(0.9, 0.4, 0.45), shape_zyx=SHAPE_ZYX, voxel_size=VOXEL_SIZE) -> np.ndarray:
    rng = np.random.default_rng(0)
    return fluorescence([tree], shape_zyx=shape_zyx, voxel_size=voxel_size, rng=rng, psf_um=psf_um)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("style", STYLES)
def test_a_neuron_is_one_tree_inside_its_box(style, seed):
    tree = grow(np.random.default_rng(seed), extent_um=EXTENT_UM, style=style, tips=15)
    assert (tree.parent == -1).sum() == 1
    assert tree.parent[0] == -1
    assert np.all(tree.parent[1:] < np.arange(1, len(tree)))  # parents first: no cycle
    assert np.all(tree.xyz >= 0)
    assert np.all(tree.xyz <= EXTENT_UM)
    assert np.all(tree.radius > 0)
    edge = np.linalg.norm(tree.xyz[1:] - tree.xyz[tree.parent[1:]], axis=1)
    assert edge[tree.type[tree.parent[1:]] != 1].max() < 1.0
    assert edge.min() > 0


def test_a_neuron_has_the_tips_it_was_asked_for_unless_the_border_takes_them():
    tree = grow(np.random.default_rng(1), extent_um=(400, 400, 200), style="multipolar", tips=17)
    children = np.bincount(tree.parent[1:], minlength=len(tree))
    assert (children == 0).sum() == 17


def test_a_multipolar_neuron_starts_with_its_soma_and_others_have_none():
    rng = np.random.default_rng(0)
    kinds = {style: grow(rng, extent_um=EXTENT_UM, style=style).type for style in STYLES}
    assert kinds["multipolar"][0] == 1
    assert (kinds["multipolar"] == 1).sum() == 1
    assert not np.any(kinds["projection"] == 1)
    assert not np.any(kinds["fibre"] == 1)


def test_no_neurite_comes_back_to_its_soma():
    for seed in range(40):
        tree = grow(
            np.random.default_rng(seed), extent_um=(60, 60, 25), style="multipolar", tips=10, soma_um=8.0
        )
        away = np.linalg.norm(tree.xyz - tree.xyz[0], axis=1) / tree.radius[0]
        assert away[1:].min() > 0.999


def test_no_wander_gives_straight_terminals_and_more_gives_more_bends():
    def tortuosity(wander):
        box = {"extent_um": (400, 400, 400), "style": "multipolar", "section_um": 60}
        tree = grow(np.random.default_rng(3), **box, wander=wander)
        step = np.diff(tree.xyz, axis=0)[20:40]
        step /= np.linalg.norm(step, axis=1, keepdims=True)
        return 1 - np.einsum("ij,ij->i", step[1:], step[:-1]).mean()

    assert tortuosity(0.0) < 1e-12 < tortuosity(0.3) < tortuosity(0.9)


@pytest.mark.parametrize(
    ("start", "end", "axes"),
    [
        ((12.3, 11.71, 0), (12.3, 11.71, 31.2), (1, 2)),
        ((0, 11.71, 15.47), (25.2, 11.71, 15.47), (0, 1)),
        ((12.3, 0, 15.47), (12.3, 23.4, 15.47), (0, 2)),
    ],
    ids=["along z", "along x", "along y"],
)
def test_the_light_of_a_tube_is_centred_on_its_line(start, end, axes):
    light = lit(straight(start, end))
    expected = um_to_voxel(np.asarray(start), VOXEL_SIZE)
    for axis in axes:
        profile = light.sum(axis=tuple({0, 1, 2} - {axis}))
        centroid = (profile * np.arange(len(profile))).sum() / profile.sum()
        assert centroid == pytest.approx(expected[axis], abs=0.02)


def test_an_oblique_tube_is_brightest_on_its_line_and_fills_the_voxels_of_its_mask():
    tree = straight((3.1, 4.2, 5.3), (20.5, 18.4, 26.7), radius=0.8)
    light = lit(tree)
    on_line = ndimage.map_coordinates(light, um_to_voxel(tree.xyz[10:-10], VOXEL_SIZE).T, order=1)
    for aside in np.eye(3) * 1.5:
        beside = um_to_voxel(tree.xyz[10:-10] + aside, VOXEL_SIZE).T
        assert np.all(ndimage.map_coordinates(light, beside, order=1) < on_line)
    inside = mask(tree, SHAPE_ZYX, VOXEL_SIZE)
    assert light[inside].mean() > 20 * light[~inside].mean()


def test_photons_are_volume_of_dye_over_volume_of_a_voxel_and_the_psf_keeps_them():
    tree = straight((6, 12, 16), (18, 12, 16), radius=0.7)
    voxels = np.pi * 0.7**2 * 12 / np.prod(VOXEL_SIZE)
    for psf_um in [(0.01, 0.01, 0.01), (1.5, 0.6, 0.6)]:
        assert lit(tree, psf_um=psf_um).sum() == pytest.approx(100 * voxels, rel=1e-3)


def test_a_soma_holds_the_dye_of_a_ball():
    tree = Tree(np.array([[12.0, 12, 16]]), np.array([3.0]), np.array([-1]), np.array([1]))
    points, um3 = dye(tree, VOXEL_SIZE, rng=np.random.default_rng(0), gain=np.ones(1))
    assert um3.sum() == pytest.approx(4 / 3 * np.pi * 27)
    assert np.linalg.norm(points - tree.xyz, axis=1).max() <= 3


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_psf_is_as_wide_as_stated(axis):
    point = straight((12.0, 11.55, 16.0), (12.01, 11.55, 16.0), radius=0.01)
    psf_um = (1.6, 0.5, 0.7)
    profile = lit(point, psf_um=psf_um).sum(axis=tuple({0, 1, 2} - {axis}))
    place = np.arange(len(profile)) * VOXEL_SIZE[axis]
    mean = (profile * place).sum() / profile.sum()
    sigma = np.sqrt((profile * (place - mean) ** 2).sum() / profile.sum())
    assert sigma == pytest.approx(psf_um[axis], rel=0.06)


def test_a_view_without_neurons_is_background():
    rng = np.random.default_rng(0)
    image = render([], shape_zyx=(8, 32, 32), voxel_size=VOXEL_SIZE, rng=rng, camera=Camera(background=20.0))
    assert image.mean() == pytest.approx(20, rel=0.02)


def test_what_lies_outside_is_cut_off_and_a_crop_is_the_whole_seen_through_a_window():
    tree = straight((-20, 12.5, 16), (60, 12.5, 16), radius=0.6)
    light = lit(tree)
    column = light.sum(axis=(0, 1))
    np.testing.assert_allclose(column, column.mean(), rtol=0.1)  # no dark ends


def test_noise_is_poisson_plus_read_noise_and_black_and_white_set_the_scale():
    dark = np.zeros((40, 80, 80), np.float32)
    camera = Camera(background=30.0, read_noise=4.0, black=0.0, white=655.35)
    image = expose(dark, rng=np.random.default_rng(0), camera=camera, dtype=np.uint16) / 100
    assert image.mean() == pytest.approx(30, rel=0.01)
    assert image.var() == pytest.approx(30 + 16, rel=0.02)


def test_clipping_saturates_at_white_and_cleans_below_black():
    ramp = np.broadcast_to(np.linspace(0, 200, 50, dtype=np.float32), (4, 4, 50))
    camera = Camera(background=0.0, read_noise=0.0, black=60.0, white=120.0)
    image = expose(ramp, rng=np.random.default_rng(0), camera=camera, dtype=np.uint8)
    assert np.all(image[..., :5] == 0)
    assert np.all(image[..., -5:] == 255)


def test_haze_adds_the_stated_share_of_light():
    light = np.zeros((32, 128, 128), np.float32)
    light[12:20, 40:88, 40:88] = 50
    camera = Camera(background=0.0, read_noise=0.0, haze=0.3, white=6553.5)
    image = expose(light, rng=np.random.default_rng(0), camera=camera, dtype=np.uint16) / 10
    assert image.sum() == pytest.approx(1.3 * light.sum(), rel=0.03)


def test_even_staining_is_one_everywhere_and_dim_stretches_have_their_share():
    tree = straight((0, 0, 0), (59, 0, 0))
    rng = np.random.default_rng(0)
    assert np.all(stain_gain(tree, EVEN, rng=rng) == 1)
    gains = np.concatenate([stain_gain(tree, Staining(dim=0.3, length_um=3), rng=rng) for _ in range(200)])
    assert (gains < 0.6).mean() == pytest.approx(0.3, abs=0.04)


def test_same_seed_same_bytes():
    def digest(seed):
        rng = np.random.default_rng(seed)
        voxel_size = random_voxel_size(rng)
        image, trees = random_scene(rng, shape_zyx=(16, 64, 64), voxel_size=voxel_size)
        return hashlib.sha256(image.tobytes() + b"".join(t.xyz.tobytes() for t in trees)).hexdigest()

    assert digest(5) == digest(5) != digest(6)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_a_scene_shows_its_neurites(seed):
    rng = np.random.default_rng(seed)
    voxel_size = random_voxel_size(rng)
    image, trees = random_scene(rng, shape_zyx=(24, 96, 96), voxel_size=voxel_size)
    neurite = np.any([mask(tree, image.shape, voxel_size) for tree in trees], axis=0)
    assert image.shape == (24, 96, 96)
    assert image.dtype in (np.uint8, np.uint16)
    assert neurite.any()
    assert image[neurite].mean() > image[~neurite].mean()


def test_axons_in_tissue_run_in_every_direction_though_the_view_is_flat():
    rng, shape, voxel_size = np.random.default_rng(4), (16, 96, 96), (0.8, 0.4, 0.4)
    light, ways = [], []
    for _ in range(6):
        seen, trees = axons_in_tissue(rng, shape_zyx=shape, voxel_size=voxel_size)
        light.append(seen)
        for tree in trees:
            child = np.flatnonzero(tree.parent >= 0)
            ways.append(np.abs(tree.xyz[child] - tree.xyz[tree.parent[child]]))
    ways = np.concatenate(ways)
    share = (ways / np.linalg.norm(ways, axis=1, keepdims=True)).mean(0)  # x, y, z; of a sphere .5 each
    assert (share > 0.3).all()
    assert np.median(light) < 2  # tissue is dark: a few sigma at most


@pytest.mark.slow
def test_demo_neurons_grow_harder_and_their_light_lies_on_their_tree():
    contrasts = []
    for index in range(3):
        made = demo_neuron(index, 3, seed=0)
        inside = mask(made.tree, made.image.shape, made.voxel_size)
        rest = made.image[~inside].astype(float)
        contrasts.append((made.image[inside].mean() - np.median(rest)) / np.percentile(rest, 90))
        upper = (np.array(made.image.shape) - 1) * made.voxel_size
        assert np.all(made.tree.xyz >= 0)
        assert np.all(made.tree.xyz <= upper[::-1])
    assert contrasts[0] > contrasts[1] > contrasts[2] > 1


def test_several_trees_may_differ_in_light_and_staining():
    trees = [straight((2, y, 16), (23, y, 16), radius=0.6) for y in (6.0, 18.0)]
    image = render(
        trees,
        shape_zyx=SHAPE_ZYX,
        voxel_size=VOXEL_SIZE,
        rng=np.random.default_rng(0),
        photons=[200, 50],
        staining=[EVEN, EVEN],
        camera=Camera(background=0.0, read_noise=0.0),
    )
    near, far = image[:, :36].sum(dtype=float), image[:, 36:].sum(dtype=float)
    assert near / far == pytest.approx(4, rel=0.05)


@pytest.mark.slow
def test_the_demo_dataset_is_found_read_and_the_same_each_time(tmp_path):
    settings = config.Simulate(neurons=2, seed=3)
    for folder in ("once", "again"):
        simulate.run(tmp_path / folder, settings=settings)
    once, again = (sorted((tmp_path / folder).iterdir()) for folder in ("once", "again"))
    assert [path.name for path in once] == [path.name for path in again]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(once, again, strict=True))
    samples = dataset.discover(tmp_path / "once")
    assert [sample.name for sample in samples] == ["neuron_1", "neuron_2"]
    for sample in samples:
        image, tree = images.open_image(sample.image), swc.read(sample.reference, unit=sample.reference_unit)
        assert image.shape == (48, 256, 256)
        assert image.voxel_size == pytest.approx(sample.voxel_size, rel=1e-6)  # the TIFF says it too
        root_zyx = um_to_voxel(tree.xyz[0], sample.voxel_size)
        assert sample.root == pytest.approx(tuple(root_zyx[::-1]), abs=0.01)
