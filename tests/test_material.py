"""What is trained on and what is scored: are they apart, and are remade images true to their truth?"""

import numpy as np
import pytest

from pipeline import intensity, rasterise
from pipeline.swc import Tree
from pipeline.training import material, pairs, remake
from pipeline.training.material import Counts

VOXEL = (1.0, 0.5, 0.5)
SHAPE = (20, 160, 200)


@pytest.fixture(scope="module")
def volume():
    """(pair, counts): a line of 20 counts (10 sigma) through noise."""
    xyz = np.stack([np.linspace(5, 90, 80), np.linspace(10, 60, 80), np.full(80, 10.0)], 1)
    tree = Tree(xyz, np.full(80, 1.0), np.arange(-1, 79), np.zeros(80, np.int64))
    noise = np.random.default_rng(0).normal(30, 2, SHAPE)
    counts = np.rint(noise + 20 * rasterise.mask(tree, SHAPE, VOXEL)).astype(np.uint8)
    seen = intensity.light(counts, intensity.measure(counts))
    return pairs.from_tree("line", seen, [tree], VOXEL, complete=True), counts


def test_a_part_keeps_its_points_on_its_neurites(volume):
    pair, _ = volume
    cut = remake.part(pair, (slice(2, 15), slice(40, 120), slice(50, None)))
    assert cut.image.shape == (13, 80, 150)
    assert len(cut.foreground)
    assert (cut.distance[tuple(cut.foreground.T)] <= 0).all()


def test_what_is_scored_is_not_trained_on(volume):
    pair, counts = volume
    train, score, rest = material._halves(pair, Counts(counts))
    assert train.image.size + score.image.size == pair.image.size
    box = tuple(slice(0, size) for size in train.image.shape)
    light = intensity.light(counts, intensity.measure(counts))[
        tuple(slice(a, a + n) for a, n in zip(rest.low, train.image.shape))
    ]
    np.testing.assert_array_equal(light.astype(np.float16), train.image)
    assert rest[box].shape == train.image.shape
    assert 0.1 < len(score.foreground) / len(pair.foreground) < 0.4


def test_of_single_labelled_planes_the_last_is_scored(volume):
    pair, counts = volume
    labels = np.zeros(SHAPE, np.uint8)
    for z in (4, 10, 16):
        labels[z] = np.where(pair.distance[z] <= 0, pairs.NEURITE, pairs.BACKGROUND)
    labels[16, 5:9, 5:9] = pairs.NEURITE
    sparse = pairs.from_labels("sparse", pair.image.astype(np.float32), labels)
    train, score, _ = material._halves(sparse, Counts(counts))
    assert np.flatnonzero(train.counts.any((1, 2))).tolist() == [4, 10]
    assert not (train.foreground[:, 0] == 16).any()
    assert np.flatnonzero(score.counts.any((1, 2))).tolist() == [2]
    assert len(score.image) == 5


@pytest.mark.parametrize("seed", range(5))
def test_an_image_taken_again_shows_its_neurites_where_they_are(volume, seed):
    again = remake.retaken(np.random.default_rng(seed), volume[0], shape_zyx=(16, 96, 96))
    inside = again.distance <= 0
    if inside.sum() > 100:
        assert again.image[inside].astype(float).mean() > again.image[~inside].astype(float).mean()


def test_neurites_are_grown_only_where_none_is(volume):
    pair, counts = volume
    grown = remake.grown_in(np.random.default_rng(1), pair, counts, shape_zyx=(16, 48, 48))
    assert grown is not None and grown.image.shape == (16, 48, 48)
    assert grown.counts[grown.distance > 0].all()
