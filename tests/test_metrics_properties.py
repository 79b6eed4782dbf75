"""What no score may depend on, and what must hold for any pair of trees."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import swc
from pipeline.metrics import rooted
from pipeline.metrics.compare import Measured, compare
from pipeline.swc import Tree

pytestmark = pytest.mark.filterwarnings("error")
FEW = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def trees(draw, shortest=0.0):
    """A forest of up to 40 nodes, edges up to 30 long, some nodes doubled when shortest is 0."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(2, 40))
    parent = np.array([-1] + [int(rng.integers(max(-1, i - 6), i)) for i in range(1, n)])
    parent[1] = 0
    length = rng.uniform(shortest, 30, n)
    if shortest == 0:
        length[rng.random(n) < 0.1] = 0
    length[1] = max(length[1], 1)  # some cable
    heading = rng.normal(size=(n, 3))
    heading *= length[:, None] / np.linalg.norm(heading, axis=1, keepdims=True)
    xyz, radius = np.zeros((n, 3)), rng.uniform(0.2, 2, n)
    for row in range(n):
        xyz[row] = heading[row] + (xyz[parent[row]] if parent[row] >= 0 else 0)
        if length[row] == 0 and parent[row] >= 0:
            radius[row] = radius[parent[row]]  # two radii in one place: either would be right
    return Tree(xyz, radius, parent, np.full(n, 3))


@st.composite
def pairs(draw, shortest=0.0):
    """A tree and a jittered copy that lacks some of its nodes."""
    tree = draw(trees(shortest))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kept = np.flatnonzero(rng.random(len(tree)) < 0.9)
    part = swc.take(tree, kept if len(kept) > 1 else np.arange(len(tree)))
    return replace(part, xyz=part.xyz + rng.normal(scale=0.7, size=part.xyz.shape)), tree


def scores(first, second, **options):
    return compare(Measured(first), Measured(second), **options)


def assert_same(found, expected, names=None, **tolerance):
    for name in names or [name for name in expected if not name.endswith("_reason")]:
        assert found[name] == pytest.approx(expected[name], nan_ok=True, **tolerance), name


UP_TO_ROOTS = ("persistence", "sholl", "diadem")  # and their companions


@FEW
@given(trees())
def test_a_tree_agrees_with_itself(tree):
    found = scores(tree, tree)
    for name in ("esa", "dsa", "pds", "hausdorff", "hd95", "path_error", "path_excess", "path_wrong_link"):
        assert found[name] == pytest.approx(0, abs=1e-8), name
    for name in ("precision", "recall", "f1", "f1_1um", "length_ratio", "tip_f1"):
        assert found[name] == pytest.approx(1), name


@FEW
@given(pairs())
def test_swapping_the_files_swaps_directions_only(pair):
    found, swapped = scores(*pair), scores(*pair[::-1])
    assert_same(
        swapped, found, ("esa", "dsa", "pds", "f1", "hausdorff", "hd95", "tip_f1", "branch_f1"), rel=1e-9
    )
    for one, other in (
        ("esa_12", "esa_21"),
        ("pds_12", "pds_21"),
        ("precision", "recall"),
        ("tip_precision", "tip_recall"),
        ("path_missing", "path_excess"),
        ("path_broken", "path_wrong_link"),
    ):
        assert swapped[one] == pytest.approx(found[other], nan_ok=True, rel=1e-9), one


@FEW
@given(pairs(), st.integers(0, 2**32 - 1))
def test_the_order_of_rows_does_not_matter(pair, seed):
    rng = np.random.default_rng(seed)
    roots = [swc.sorted_tree(tree) for tree in pair]  # the first root stays first
    shuffled = [swc.take(tree, np.concatenate([[0], 1 + rng.permutation(len(tree) - 1)])) for tree in roots]
    found, expected = scores(*shuffled), scores(*roots)
    assert_same(found, expected, rel=1e-7, abs=1e-7)


@FEW
@given(pairs(), st.integers(0, 2**32 - 1))
def test_rotation_and_shift_do_not_matter(pair, seed):
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    moved = [replace(tree, xyz=tree.xyz @ turn + [7, -3, 11]) for tree in pair]
    found, expected = scores(*moved), scores(*pair)
    names = [name for name in expected if name.startswith(("esa", "hausdorff", "distance_mean", "length"))]
    assert_same(found, expected, [name for name in names if not name.endswith("_reason")], rel=2e-4, abs=1e-6)
    assert_same(found, expected, ("precision", "recall", "f1", "precision_5um"), rel=1e-4, abs=1e-4)


@FEW
@given(pairs(shortest=0.6), st.integers(0, 2**32 - 1))
def test_the_choice_of_roots_does_not_matter_for_geometry(pair, seed):
    rng = np.random.default_rng(seed)
    turned = [rooted.rerooted(tree, int(rng.integers(len(tree)))) for tree in pair]
    found, expected = scores(*turned), scores(*pair)
    free = [
        name
        for name in expected
        if not name.endswith("_reason") and not name.startswith((*UP_TO_ROOTS, "radius", "pds", "dsa"))
    ]
    assert_same(found, expected, [n for n in free if not n.startswith("esa")], rel=1e-4, abs=1e-4)
    short = min(Measured(tree).edges.length.min() for tree in pair)
    if short >= 0.5:  # a shorter edge is sampled at its child only
        assert_same(found, expected, ("esa", "esa_12", "esa_21"), rel=1e-9)


@FEW
@given(pairs(), st.integers(2, 4))
def test_finer_nodes_change_lengths_little_and_esa_by_a_few_percent(pair, pieces):
    finer = [subdivided(tree, pieces) for tree in pair]
    found, expected = scores(*finer), scores(*pair)
    names = ("precision", "recall", "f1", "f1_3um", "length_ratio", "tip_f1", "branch_f1", "path_missing")
    assert_same(found, expected, names, abs=1e-4)
    assert_same(found, expected, ("hausdorff",), rel=2e-4)


@FEW
@given(pairs())
def test_nanometres_are_a_thousandth_of_um(pair):
    # Coordinates, tolerances and radii all times 1,000; ESA alone has a step and threshold in its unit.
    big = [replace(tree, xyz=tree.xyz * 8, radius=tree.radius * 8) for tree in pair]
    found = scores(*big, tolerance_um=8 * 1.5, node_radius_um=8 * 3.0, sholl_step_um=8 * 10.0)
    expected = scores(*pair)
    assert_same(found, expected, ("precision", "recall", "f1", "tip_f1", "branch_f1", "sholl"), abs=1e-4)


@FEW
@given(pairs())
def test_more_tolerance_finds_no_less(pair):
    found = scores(*pair)
    for name in ("precision", "recall"):
        curve = [found[f"{name}_{tolerance}um"] for tolerance in (1, 2, 3, 5)]
        if not np.isnan(curve[0]):
            assert (np.diff(curve) >= -1e-9).all()
            assert curve[0] - 1e-9 <= found[name] <= curve[1] + 1e-9


@FEW
@given(pairs())
def test_every_score_is_in_its_range_or_says_why_not(pair):
    found = scores(*pair)
    for name, value in found.items():
        if name.endswith("_reason"):
            continue
        assert np.isfinite(value) or f"{name}_reason" in found, name
        if (
            name.startswith(("precision", "recall", "f1", "pds", "tip_f1", "branch_f1", "path_"))
            and value == value
        ):
            assert -1e-9 <= value <= 1 + 1e-9, name


@FEW
@given(trees())
def test_files_keep_trees(tmp_path_factory, tree):
    path = tmp_path_factory.mktemp("swc") / "tree.swc"
    swc.write(path, tree)
    once = swc.read(path)
    swc.write(path.with_name("again.swc"), once)
    assert path.read_bytes() == path.with_name("again.swc").read_bytes()
    assert scores(once, tree)["hausdorff"] < 1e-3


def subdivided(tree, pieces):
    """Each edge cut into equal pieces; the new nodes come after the old ones."""
    rows = np.flatnonzero(tree.parent >= 0)
    share = np.arange(1, pieces) / pieces
    first, last = tree.xyz[rows], tree.xyz[tree.parent[rows]]
    new = first[:, None] + share[None, :, None] * (last - first)[:, None]
    number = len(tree) + np.arange(len(rows) * (pieces - 1)).reshape(len(rows), pieces - 1)
    parent = tree.parent.copy()
    parent[rows] = number[:, 0]
    above = np.concatenate([number[:, 1:], tree.parent[rows][:, None]], axis=1)
    xyz = np.concatenate([tree.xyz, new.reshape(-1, 3)])
    return Tree(xyz, np.ones(len(xyz)), np.concatenate([parent, above.ravel()]), np.full(len(xyz), 3))
