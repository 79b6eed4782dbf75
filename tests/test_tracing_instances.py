"""All labels of a volume to trees: shapes whose lines are known."""

import platform
import subprocess
import sys

import numpy as np
import pytest

from conftest import line
from pipeline import rasterise, swc
from pipeline.swc import Tree, cable_length
from pipeline.tracing import graph
from pipeline.tracing.instances import joined, trace_labels

VOXEL = (0.04, 0.02, 0.02)
SHAPE = (50, 100, 100)  # 2 x 2 x 2 um


def tube(*points, radius=0.15):
    """bool (z, y, x) of a bent tube through the points (x, y, z um)."""
    xyz = np.array(points, float)
    parent = np.arange(len(xyz)) - 1
    tree = Tree(xyz, np.full(len(xyz), radius), parent, np.zeros(len(xyz), np.int64))
    return rasterise.mask(tree, SHAPE, VOXEL)


def traced(labels, **options):
    return trace_labels(labels, VOXEL, **{"min_length_um": 0.2, "dust_voxels": 50, **options})


@pytest.fixture
def two():
    """Two touching cells: a straight tube from border to border (7), and the rest of the volume cut off at x = 1.2."""
    labels = np.zeros(SHAPE, np.uint32)
    labels[tube((0.3, 0.4, 1.0), (1.7, 0.4, 1.0))] = 7
    labels[tube((0.3, 1.4, 0.5), (1.0, 1.2, 1.0), (1.7, 1.4, 1.5))] = 4_000_000_000
    return labels


def test_each_label_gives_one_tree_in_um(two):
    trees = traced(two)
    assert list(trees) == [7, 4_000_000_000]
    assert cable_length(trees[7]) == pytest.approx(1.4 + 0.3, abs=0.2)  # TEASAR runs to the ends of the tube
    bent = np.linalg.norm([0.7, 0.2, 0.5]) * 2
    assert cable_length(trees[4_000_000_000]) == pytest.approx(bent + 0.3, abs=0.25)
    inner = np.abs(trees[7].xyz[:, 0] - 1) < 0.5
    assert np.abs(trees[7].xyz[inner, 1:] - (0.4, 1.0)).max() < 0.03
    assert np.median(trees[7].radius[inner]) == pytest.approx(0.15, abs=0.04)


def test_the_trees_have_one_root_first_and_parents_before_children(two, tmp_path):
    for label, tree in traced(two).items():
        assert (tree.parent < 0).sum() == 1 and tree.parent[0] == -1
        assert (tree.parent < np.arange(len(tree))).all()
        assert (tree.radius > 0).all()
        swc.write(tmp_path / f"{label}.swc", tree)
        assert len(swc.read(tmp_path / f"{label}.swc")) == len(tree)


def test_parts_of_one_label_are_joined_by_the_shortest_link_up_to_the_gap():
    labels = np.zeros(SHAPE, np.uint32)
    labels[tube((0.2, 1.0, 1.0), (0.8, 1.0, 1.0), radius=0.1)] = 1
    labels[tube((1.2, 1.0, 1.0), (1.8, 1.0, 1.0), radius=0.1)] = 1
    whole = traced(labels)[1]
    assert (whole.parent < 0).sum() == 1
    assert np.ptp(whole.xyz[:, 0]) > 1.5
    assert cable_length(whole) == pytest.approx(1.7, abs=0.15)
    apart = traced(labels, gap_um=0.1)[1]
    assert cable_length(apart) == pytest.approx(0.75, abs=0.15)


def test_three_pieces_in_a_row_are_joined_one_to_the_next():
    pieces = [line((start, 0, 0), (start + 1, 0, 0), pieces=2) for start in (0, 1.5, 3)]
    forest = Tree(
        np.concatenate([piece.xyz for piece in pieces]),
        np.ones(9),
        np.concatenate(
            [np.where(piece.parent < 0, -1, piece.parent + 3 * i) for i, piece in enumerate(pieces)]
        ),
        np.zeros(9, np.int64),
    )
    assert cable_length(joined(forest, gap_um=np.inf)) == pytest.approx(4)
    assert len(np.unique(graph.pieces(joined(forest, gap_um=0.4)))) == 3


def test_a_soma_is_the_root_and_one_point():
    labels = np.zeros(SHAPE, np.uint32)
    labels[tube((1.0, 1.0, 1.0), (1.0, 1.0, 1.001), radius=0.3)] = 3
    labels[tube((1.0, 1.0, 1.0), (1.95, 1.0, 1.0), radius=0.1)] = 3
    labels[tube((1.0, 1.0, 1.0), (0.05, 1.0, 1.0), radius=0.1)] = 3
    tree = traced(labels, soma_um=0.25, bulge_um=0.2, const_um=0.1)[3]
    assert tree.type.tolist() == [swc.SOMA] + [0] * (len(tree) - 1)
    assert np.linalg.norm(tree.xyz[0] - 1.0) < 0.1
    assert (np.linalg.norm(tree.xyz[1:] - tree.xyz[0], axis=1) < 0.2).sum() < 25
    assert len(np.flatnonzero(graph.degree(tree) == 1)) == 2


def test_without_a_soma_the_root_is_the_thickest_end_at_the_border():
    labels = np.zeros(SHAPE, np.uint32)
    labels[tube((-0.5, 1.0, 1.0), (1.0, 1.0, 1.0), radius=0.2)] = 1
    labels[tube((1.0, 1.0, 1.0), (1.6, 1.0, 1.0), radius=0.1)] = 1
    assert traced(labels)[1].xyz[0, 0] < 0.1


def test_short_trees_and_dust_are_left_out(two):
    two[40:44, 80:90, 80:90] = 9
    assert list(traced(two, min_length_um=1.0)) == [7, 4_000_000_000]
    lengths = {label: cable_length(tree) for label, tree in traced(two, min_length_um=1.0).items()}
    between = np.mean([*lengths.values()])
    assert list(traced(two, min_length_um=between)) == [max(lengths, key=lengths.get)]
    assert traced(two, min_length_um=9.0) == {}
    assert traced(0 * two) == {}


@pytest.mark.slow
def test_the_trees_do_not_depend_on_the_number_of_workers(two):
    one, many = traced(two, workers=1), traced(two, workers=2)
    assert list(one) == list(many)
    for label, tree in one.items():
        for field in ("xyz", "radius", "parent", "type"):
            assert getattr(tree, field).tobytes() == getattr(many[label], field).tobytes()


# Pages that the system has to give for an array that is taken and freed again and again.
FAULTS = """
import resource
import numpy as np
from pipeline.tracing.instances import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(8_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = faults()
keep_freed_memory()
faults()
print(first, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone can be told")
def test_memory_that_was_freed_is_used_again():
    answer = subprocess.run([sys.executable, "-c", FAULTS], check=True, capture_output=True, text=True)
    before, after = map(int, answer.stdout.split())
    assert before > 1000 and after < before / 10
