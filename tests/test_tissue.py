"""Simulated tissue: what is known of it holds."""

import cc3d
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from pipeline import swc
from pipeline.instances import segment
from pipeline.instances.affinities import boundary, prediction_of
from pipeline.metrics.labels import scores
from pipeline.simulation.electron import Microscope
from pipeline.simulation.tissue import tissue
from pipeline.swc import um_to_voxel

ISOTROPIC, SECTIONS = (0.008, 0.008, 0.008), (0.04, 0.008, 0.008)
CLEAN = Microscope(noise=0.0, uneven=0.0, lost=0, shifted=0)


def information(one, two):
    """VI in bits between two segmentations without 0."""
    found = scores(one, two)
    return found["vi_split"] + found["vi_merge"]


def block(voxel_size=ISOTROPIC, *, seed=0, **options):
    shape = (10, 128, 128) if voxel_size == SECTIONS else (40, 128, 128)
    return tissue(
        np.random.default_rng(seed),
        shape_zyx=shape,
        voxel_size=voxel_size,
        **{"min_length_um": 0.3, **options},
    )


@pytest.fixture(scope="module", params=[ISOTROPIC, SECTIONS], ids=["isotropic", "sections"])
def made(request):
    return block(request.param), request.param


def test_cells_fill_the_space_and_each_hangs_together(made):
    tissue, _ = made
    labels = tissue.labels
    assert labels.dtype == np.uint32 and tissue.image.dtype == np.uint8
    assert tissue.image.shape == labels.shape
    assert labels.min() == 1
    assert cc3d.connected_components(labels, connectivity=6).max() == labels.max() > 8
    sizes = np.bincount(labels.ravel())[1:]
    assert (np.diff(sizes) <= 0).all()
    assert sizes[0] < 0.6 * labels.size


def test_membranes_are_darker_than_cells(made):
    tissue, voxel_size = made
    wall = boundary(prediction_of(tissue.labels), in_plane=voxel_size == SECTIONS) > 0
    seen = tissue.image.any((1, 2))
    assert np.median(tissue.image[seen][wall[seen]]) < 0.7 * np.median(tissue.image[seen][~wall[seen]])


def test_membranes_are_about_as_thick_along_each_axis():
    clean = block(microscope=CLEAN)
    across = []
    for axis in range(3):
        side = np.moveaxis(clean.labels, axis, 0)
        cut = side[1:] != side[:-1]
        across.append(np.median(np.moveaxis(clean.image, axis, 0)[1:][cut]))
    assert np.ptp(across) < 12


def test_trees_run_within_their_cells(made):
    tissue, voxel_size = made
    assert len(tissue.trees) >= 3
    for label, tree in tissue.trees.items():
        voxel = np.rint(um_to_voxel(tree.xyz, voxel_size)).astype(int)
        assert (tissue.labels[tuple(voxel.T)] == label).all()
        assert (tree.parent < 0).sum() == 1
        assert swc.cable_length(tree) >= 0.3


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_and_another_one_other_tissue():
    one, two, other = block(), block(), block(seed=1)
    assert one.image.tobytes() == two.image.tobytes()
    assert one.labels.tobytes() == two.labels.tobytes()
    assert [tree.xyz.tobytes() for tree in one.trees.values()] == [
        tree.xyz.tobytes() for tree in two.trees.values()
    ]
    assert one.labels.tobytes() != other.labels.tobytes()


@pytest.mark.slow
def test_one_section_is_lost_and_one_is_shifted():
    good = block(microscope=CLEAN)
    bad = block(microscope=Microscope(noise=0.0, uneven=0.0, lost=1, shifted=1))
    assert_array_equal(good.labels, bad.labels)
    # Both begin with the same draws; the grain comes last and has no weight here.
    changed = [z for z in range(len(good.image)) if (good.image[z] != bad.image[z]).any()]
    lost = [z for z in changed if not bad.image[z].any()]
    assert len(changed) == 2 and len(lost) == 1
    assert good.image.any((1, 2)).all()


def test_perfect_affinities_of_the_tissue_give_its_cells(made):
    tissue, voxel_size = made
    limit = 0.05 if voxel_size == ISOTROPIC else 0.2
    assert information(segment(prediction_of(tissue.labels), voxel_size), tissue.labels) < limit


def test_somata_and_small_blocks():
    with_body = block(somata=2)
    assert with_body.labels.min() == 1
    small = tissue(np.random.default_rng(0), shape_zyx=(4, 32, 32), somata=0)
    assert small.labels.min() == 1 and small.image.shape == (4, 32, 32)
