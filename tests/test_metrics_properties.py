"""What no score may depend on, and what must hold for any pair of trees, masks or label volumes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pipeline import swc
from pipeline.metrics import labels, masks
from pipeline.metrics.compare import Measured, compare
from pipeline.metrics.paths import rooted
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
        length[(rng.random(n) < 0.1) & (parent >= 0)] = 0
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


# What a tree scores against itself, by how the name begins; the counts of paths are no scores.
BEST = {
    **dict.fromkeys(("precision", "recall", "f1", "length_ratio", "diadem"), 1),
    **{f"{node}_{name}": 1 for node in ("tip", "branch") for name in ("precision", "recall", "f1")},
    **dict.fromkeys(
        ("esa", "dsa", "pds", "distance_", "hd95", "hausdorff", "tip_distance", "branch_distance"), 0
    ),
    **dict.fromkeys(("path_", "paths_missing", "paths_broken", "paths_excess", "paths_wrong_link"), 0),
    **dict.fromkeys(("sholl", "persistence", "radius_", "diadem_missed", "diadem_excess"), 0),
}


def best(name):
    return BEST[max((start for start in BEST if name.startswith(start)), key=len)]


@FEW
@given(trees())
def test_a_tree_agrees_with_itself_by_every_score(tree):
    found = scores(tree, tree)
    assert found["diadem_rerooted"] == 1
    counts = ("paths", "paths_reference", "diadem_rerooted")
    names = [name for name in found if not name.endswith("_reason") and name not in counts]
    for name in names:
        if found[name] == found[name]:
            assert found[name] == pytest.approx(best(name), abs=1e-7), name


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
        ("dsa_12", "dsa_21"),
        *((f"distance_{name}_12", f"distance_{name}_21") for name in ("mean", "median", "p95")),
        ("precision", "recall"),
        ("tip_precision", "tip_recall"),
        ("branch_precision", "branch_recall"),
        ("path_missing", "path_excess"),
        ("path_broken", "path_wrong_link"),
        ("paths_missing", "paths_excess"),
        ("paths_broken", "paths_wrong_link"),
    ):
        assert swapped[one] == pytest.approx(found[other], nan_ok=True, rel=1e-9), one


@FEW
@given(pairs(), st.integers(0, 2**32 - 1))
def test_the_order_of_rows_does_not_matter(pair, seed):
    rng = np.random.default_rng(seed)
    roots = [swc.sorted_tree(tree) for tree in pair]  # the first root stays first
    shuffled = [swc.take(tree, np.concatenate([[0], 1 + rng.permutation(len(tree) - 1)])) for tree in roots]
    found, expected = scores(*shuffled), scores(*roots)
    # DIADEM gives nodes away one after another, siblings in the order of rows.
    names = [name for name in expected if not name.endswith("_reason") and not name.startswith("diadem")]
    assert_same(found, expected, names, rel=1e-7, abs=1e-7)


@FEW
@given(pairs(), st.integers(0, 2**32 - 1))
def test_rotation_and_shift_do_not_matter(pair, seed):
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    moved = [replace(tree, xyz=tree.xyz @ turn + [7, -3, 11]) for tree in pair]
    found, expected = scores(*moved), scores(*pair)
    # DIADEM looks at the plane and at z; Hausdorff distances are searched to 1e-4.
    names = [
        name
        for name in expected
        if not name.endswith("_reason") and not name.startswith(("diadem", "hausdorff"))
    ]
    assert_same(found, expected, names, rel=1e-7, abs=1e-7)
    assert_same(found, expected, ("esa", "esa_12", "esa_21"), rel=1e-9, abs=1e-9)
    assert_same(found, expected, ("hausdorff",), rel=2e-4, abs=1e-6)


@pytest.mark.slow
@FEW
@given(pairs(shortest=0.6), st.floats(0, 6))  # of two nodes in one place rounding would choose
def test_diadem_does_not_depend_on_the_direction_in_the_plane(pair, angle):
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    moved = [replace(tree, xyz=tree.xyz @ turn + [7, -3, 11]) for tree in pair]
    found, expected = scores(*moved), scores(*pair)
    assert_same(found, expected, ("diadem", "diadem_missed", "diadem_excess"), rel=1e-9)


@pytest.mark.slow
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


@pytest.mark.slow
@FEW
@given(pairs(shortest=0.6), st.integers(0, 2**32 - 1))
def test_the_root_of_the_prediction_alone_matters_for_nothing(pair, seed):
    prediction, reference = pair
    row = int(np.random.default_rng(seed).integers(len(prediction)))
    expected = scores(prediction, reference)
    found = scores(rooted.rerooted(prediction, row), reference)
    # Where no node lies at the reference's root, DIADEM takes the prediction as it is rooted.
    free = () if expected["diadem_rerooted"] else ("diadem",)
    sampled = ("esa", "dsa", "pds") if (Measured(prediction).edges.length < 0.5).any() else ()
    names = [
        name for name in expected if not name.endswith("_reason") and not name.startswith((*free, *sampled))
    ]
    assert_same(found, expected, names, rel=1e-6, abs=1e-6)


@FEW
@given(pairs(), st.integers(2, 4))
def test_finer_nodes_change_lengths_little_and_distances_within_their_bounds(pair, pieces):
    finer = [subdivided(tree, pieces) for tree in pair]
    found, expected = scores(*finer), scores(*pair)
    names = (
        "precision",
        "recall",
        "f1",
        "f1_3um",
        "length_ratio",
        "tip_f1",
        "branch_f1",
        "path_missing",
        "sholl",
    )
    assert_same(found, expected, names, abs=1e-4)
    assert_same(found, expected, ("hausdorff",), rel=2e-4)
    for way in ("12", "21"):  # the bounds that docs/metrics.md gives
        assert_same(found, expected, (f"distance_mean_{way}",), abs=0.38)
        assert_same(found, expected, (f"distance_median_{way}", f"distance_p95_{way}"), abs=0.75)


@pytest.mark.slow
@FEW
@given(trees(), st.integers(2, 4), st.integers(0, 2**32 - 1))
def test_cut_edges_move_esa_by_less_than_5_percent(tree, pieces, seed):
    # Where nothing is missing and no single edge makes the score: see docs/metrics.md for the others.
    assume(Measured(tree).length > 100)
    jitter = np.random.default_rng(seed).normal(scale=0.7, size=tree.xyz.shape)
    pair = replace(tree, xyz=tree.xyz + jitter), tree
    found, expected = scores(*(subdivided(one, pieces) for one in pair)), scores(*pair)
    assert_same(found, expected, ("esa", "esa_12", "esa_21"), rel=0.05, abs=0.05)


LENGTHS = ("hausdorff", "tip_distance", "branch_distance", "persistence")  # go with the unit
NUMBERS = (
    *("precision", "recall", "f1", "sholl", "path_missing", "path_excess"),
    *(f"{node}_{name}" for node in ("tip", "branch") for name in ("precision", "recall", "f1")),
)


@pytest.mark.slow
@FEW
@given(pairs())
def test_eight_times_as_large_with_all_settings_is_the_same_picture(pair):
    # ESA alone has a step and a threshold in its unit.
    big = [replace(tree, xyz=tree.xyz * 8, radius=tree.radius * 8) for tree in pair]
    found = scores(*big, tolerance_um=8 * 1.5, node_radius_um=8 * 3.0, sholl_step_um=8 * 10.0)
    expected = scores(*pair)
    assert_same(found, expected, NUMBERS, abs=1e-4)
    assert_same(found, {name: 8 * expected[name] for name in LENGTHS}, rel=2e-4)


@pytest.mark.slow
@FEW
@given(pairs(shortest=0.6))
def test_a_file_in_nm_or_in_voxels_is_the_tree_in_um(tmp_path_factory, pair):
    folder = tmp_path_factory.mktemp("units")
    expected = scores(*pair)
    for unit, per_um in (("um", 1), ("nm", 1000), ("voxel", 4)):
        read = []
        for tree in pair:
            path = folder / f"{unit}.swc"
            table = zip((tree.xyz * per_um).tolist(), (tree.radius * per_um).tolist(), tree.parent.tolist())
            rows = (f"{n + 1} 3 {x} {y} {z} {r} {p + 1 or -1}" for n, ([x, y, z], r, p) in enumerate(table))
            path.write_text("\n".join(rows) + "\n")
            read.append(swc.read(path, unit=unit, voxel_size=(0.25, 0.25, 0.25)))
        assert_same(scores(*read), expected, rel=1e-9, abs=1e-9)


@FEW
@given(pairs())
def test_more_tolerance_finds_no_less(pair):
    found = scores(*pair)
    for name in ("precision", "recall"):
        curve = [found[f"{name}_{tolerance}um"] for tolerance in (1, 2, 3, 5)]
        if not np.isnan(curve[0]):
            assert (np.diff(curve) >= -1e-9).all()
            assert curve[0] - 1e-9 <= found[name] <= curve[1] + 1e-9


@pytest.mark.slow
@FEW
@given(pairs())
def test_wider_limits_find_no_less(pair):
    for option, names, values, sign in (
        ("tolerance_um", ("path_missing", "path_excess"), (0.5, 1, 3), -1),
        ("node_radius_um", ("tip_recall", "tip_precision", "branch_recall"), (0.5, 1, 3), 1),
        ("esa_threshold", ("pds_12", "pds_21", "pds"), (0.5, 1, 3), -1),
    ):
        found = [scores(*pair, **{option: value}) for value in values]
        for name in names:
            curve = np.array([one[name] for one in found])
            assert np.isnan(curve).all() or (sign * np.diff(curve) >= -1e-9).all(), name


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


@st.composite
def blobs(draw):
    """Two masks (z, y, x) of one shape, neither empty, that share much."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    smooth = ndimage.gaussian_filter(rng.normal(size=(7, 10, 12)), 1.2)
    other = smooth + 0.3 * smooth.std() * rng.normal(size=smooth.shape)
    limit = np.quantile(smooth, draw(st.floats(0.5, 0.95)))
    assume((other > limit).any())
    return smooth > limit, other > limit


VOXEL = (1.0, 0.5, 0.25)
SWAPPED_MASKS = {"cldice_precision": "cldice_sensitivity", "cldice_sensitivity": "cldice_precision"}


@FEW
@given(blobs())
def test_swapping_masks_swaps_the_parts_of_cldice_alone(pair):
    found, swapped = (masks.scores(*one, voxel_size=VOXEL) for one in (pair, pair[::-1]))
    assert_same({name: swapped[SWAPPED_MASKS.get(name, name)] for name in found}, found, rel=1e-12)


@FEW
@given(blobs())
def test_a_mask_agrees_with_itself_and_a_mirror_changes_no_surface(pair):
    found = masks.scores(pair[0], pair[0], voxel_size=VOXEL)
    for name, value in found.items():
        assert value == (0 if name in ("hd95", "hd95_max", "hausdorff", "assd") else 1), name
    mirrored = masks.surface_scores(*(one[::-1, :, ::-1] for one in pair), voxel_size=VOXEL, tolerance_um=1)
    assert_same(mirrored, masks.surface_scores(*pair, voxel_size=VOXEL, tolerance_um=1), rel=1e-12)


@FEW
@given(blobs())
def test_more_tolerance_gives_no_less_surface_dice(pair):
    curve = [
        masks.surface_scores(*pair, voxel_size=VOXEL, tolerance_um=tolerance)["surface_dice"]
        for tolerance in (0, 0.25, 0.5, 1, 2)
    ]
    assert (np.diff(curve) >= 0).all()
    assert 0 <= curve[0] <= curve[-1] <= 1


@st.composite
def label_volumes(draw):
    """A segmentation and a truth of one shape: labels 1 to 6, and 0 where `background` was drawn."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    truth = rng.integers(1 - draw(st.booleans()), 7, (4, 5, 6))
    truth[0, 0, :2] = 1  # two voxels of one object at least
    return np.where(rng.random(truth.shape) < 0.7, truth, rng.integers(0, 7, truth.shape)), truth


@FEW
@given(label_volumes())
def test_labels_agree_with_themselves(pair):
    truth = pair[1]
    for name, value in labels.scores(truth, truth).items():
        wanted = 0 if name.startswith(("vi_", "are_", "cremi")) else 1
        assert value == pytest.approx(wanted, abs=1e-9), name


@FEW
@given(label_volumes())
def test_swapping_labels_swaps_splits_and_merges(pair):
    one, two = (np.maximum(volume, 1) for volume in pair)  # background is left out of the truth alone
    found, swapped = labels.scores(one, two), labels.scores(two, one)
    for first, second in (
        ("vi_split", "vi_merge"),
        ("vi_split_all", "vi_merge_all"),
        ("precision", "recall"),
        ("precision_cremi", "recall_cremi"),
        ("rand_split", "rand_merge"),
        ("are_cremi", "are_cremi"),
        ("are_skimage", "are_skimage"),
        ("cremi_score", "cremi_score"),
    ):
        assert swapped[first] == pytest.approx(found[second], abs=1e-9), first


@FEW
@given(label_volumes(), st.integers(0, 2**32 - 1))
def test_names_of_labels_do_not_matter_and_a_split_finds_no_more_pairs(pair, seed):
    segmentation, truth = pair
    rng = np.random.default_rng(seed)
    found = labels.scores(segmentation, truth)
    names = [np.concatenate([[0], rng.choice(10_000, 6, replace=False) + 1]) for _ in range(2)]
    assert_same(labels.scores(names[0][segmentation], names[1][truth]), found, rel=1e-9, abs=1e-9)
    # Each segment in two: every cut lies within one, so that pairs are only lost.
    halves = segmentation * 2 + (np.arange(segmentation.size).reshape(segmentation.shape) % 2)
    split = labels.scores(halves, truth)
    assert split["vi_split_all"] >= found["vi_split_all"] - 1e-9
    assert split["vi_merge_all"] <= found["vi_merge_all"] + 1e-9
    assert split["recall"] <= found["recall"] + 1e-9
    for name in ("are_cremi", "precision_cremi", "recall_cremi"):
        assert -1e-9 <= found[name] <= 1 + 1e-9, name
