"""Masks: do Dice, clDice and surface distances mean what they say, at every edge case?"""

import json

import numpy as np
import pytest

from pipeline.metrics import masks


def box(*slices, shape=(12, 20, 24)):
    mask = np.zeros(shape, bool)
    mask[slices] = True
    return mask


def from_runs(runs, shape):
    mask = np.zeros(shape, bool)
    for start, length in runs:
        mask.flat[start : start + length] = True
    return mask


# The oracles have the plain thinning; the guard adds the components that it erases, which moves clDice in two cases.
GUARDED = {
    "rod_2x2_identical": {"cldice": 1.0},  # null there: nothing is left of either rod
    # Two of the reference's ten blobs, of 32 and 35 voxels, have no skeleton there: 390 voxels in all, 395 with them.
    "random_blobs": {"cldice_sensitivity": 385 / 395, "cldice": 2 * 331 * 385 / (331 * 395 + 385 * 355)},
}


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")
@pytest.mark.parametrize("guard", [False, True])
def test_every_mask_oracle(shared, monkeypatch, guard):
    if not guard:
        monkeypatch.setattr(masks, "skeleton", masks.thinned)
    ours = {"hd95_pooled": "hd95", "assd_pooled": "assd"}
    oracles = json.loads((shared / "oracles" / "masks.json").read_text())
    for case in oracles["cases"]:
        prediction, reference = (
            from_runs(case[f"{name}_runs"], case["shape"]) for name in ("prediction", "reference")
        )
        scores = masks.scores(
            prediction,
            reference,
            voxel_size=tuple(case["spacing_zyx"]),
            tolerance_um=case["surface_tolerance"],
        )
        for name, value in case["values"].items():
            if name == "skeleton_voxels":
                assert [masks.thinned(prediction).sum(), masks.thinned(reference).sum()] == value
                continue
            if guard:
                value = GUARDED.get(case["name"], {}).get(name, value)
            wanted = np.nan if value is None else value
            got = scores[ours.get(name, name)]
            assert got == pytest.approx(wanted, abs=oracles["tolerance"], nan_ok=True), (case["name"], name)


def test_what_is_undefined_has_its_reason():
    empty, full = np.zeros((3, 4, 5), bool), np.ones((3, 4, 5), bool)
    for prediction, reference in ((empty, empty), (empty, full), (full, empty), (full, full)):
        scores = masks.scores(prediction, reference)
        for name in [name for name in scores if not name.endswith("_reason")]:
            assert np.isnan(scores[name]) == (f"{name}_reason" in scores), name
    assert masks.scores(empty, full)["dice"] == 0
    assert np.isnan(masks.scores(empty, empty)["dice"])


EVEN = [
    box(slice(0, 2), slice(0, 2), slice(0, 40), shape=(2, 2, 40)),
    box(slice(3, 7), slice(3, 7), slice(2, 11)),
    box(slice(3, 5), slice(3, 4), slice(2, 11)),
    box(slice(3, 4), slice(3, 5), slice(2, 11)),
    box(slice(2, 11), slice(3, 5), slice(4, 5)),
    box(slice(0, 2), slice(0, 2), slice(0, 2)),
]


def tubes_between_voxels():
    z, y, x = np.indices((24, 24, 24))
    for axis in range(3):
        across = [c for i, c in enumerate((z, y, x)) if i != axis]
        along = (z, y, x)[axis]
        for radius in (1, 1.5, 2, 2.5, 3):
            inside = (across[0] - 11.5) ** 2 + (across[1] - 11.5) ** 2 <= radius**2
            yield inside & (along >= 2) & (along < 22)


@pytest.mark.parametrize("mask", [*EVEN, *tubes_between_voxels()])
def test_an_object_of_even_thickness_keeps_its_centre_line(mask):
    line = masks.skeleton(mask)
    assert line.any()
    assert not (line & ~mask).any()
    assert masks.cldice(mask, mask)["cldice"] == 1


def test_a_long_even_rod_keeps_its_length():
    line = masks.skeleton(box(slice(4, 6), slice(4, 6), slice(0, 40), shape=(10, 10, 40)))
    assert line.sum() >= 36
    assert line.any((0, 1)).sum() >= 36


def test_a_component_that_the_plain_thinning_keeps_is_as_it_leaves_it():
    from skimage.morphology import skeletonize

    odd = box(slice(2, 5), slice(2, 5), slice(2, 20))
    pair = odd | box(slice(8, 10), slice(8, 10), slice(2, 20))
    assert np.array_equal(masks.skeleton(odd), skeletonize(odd))
    assert np.array_equal(masks.skeleton(pair)[:7], skeletonize(odd)[:7])
    assert masks.skeleton(pair)[8:10].any()


def test_pooled_and_directed_percentiles_differ_on_half_a_rod():
    whole = box(slice(4, 7), slice(4, 7), slice(2, 22))
    half = box(slice(4, 7), slice(4, 7), slice(2, 12))
    scores = masks.surface_scores(half, whole, voxel_size=(1, 1, 1), tolerance_um=1)
    assert scores["hausdorff"] == 10
    assert scores["hd95"] <= scores["hd95_max"]


def test_distances_are_in_um_along_each_axis():
    one = box(slice(5, 6), slice(5, 6), slice(5, 6))
    for axis, size in enumerate((3.0, 0.5, 0.25)):
        scores = masks.surface_scores(one, np.roll(one, 2, axis), voxel_size=(3.0, 0.5, 0.25), tolerance_um=6)
        assert scores["hausdorff"] == 2 * size
        assert scores["surface_dice"] == 1
