"""Masks: do the scores agree with those of other programs, and what of masks that thin to nothing?"""

import json

import numpy as np
import pytest

from pipeline.metrics import masks


def unpack(runs, shape):
    mask = np.zeros(np.prod(shape), bool)
    for start, length in runs:
        mask[start : start + length] = True
    return mask.reshape(shape)


def test_the_oracles_agree(shared, subtests):
    for case in json.loads((shared / "oracles" / "masks.json").read_text())["cases"]:
        with subtests.test(case["name"]):
            p, r = (unpack(case[f"{key}_runs"], case["shape"]) for key in ("prediction", "reference"))
            found = masks.dice(p, r) | masks.cldice(p, r, rescue=False)
            found |= masks.surfaces(p, r, case["spacing_zyx"], tolerance=case["surface_tolerance"])
            names = {"hd95_pooled": "hd95", "assd_pooled": "assd"}
            for name, value in case["values"].items():
                name = names.get(name, name)
                if name == "skeleton_voxels":
                    counts = [int(masks.skeleton(mask, rescue=False).sum()) for mask in (p, r)]
                    assert counts == value
                    continue
                expected = np.nan if value is None else value
                assert found[name] == pytest.approx(expected, abs=1e-6, nan_ok=True), name
                assert (f"{name}_reason" in found) == (value is None)


def box(*edges):
    mask = np.zeros([edge + 4 for edge in edges], bool)
    mask[tuple(slice(2, 2 + edge) for edge in edges)] = True
    return mask


@pytest.mark.parametrize(
    "edges", [(2, 2, 40), (40, 2, 2), (4, 4, 9), (2, 1, 9), (9, 1, 2), (1, 1, 1), (2, 2, 2)]
)
def test_a_mask_agrees_with_itself_whatever_its_thickness(edges):
    mask = box(*edges)
    assert masks.cldice(mask, mask)["cldice"] == 1


def test_every_component_keeps_a_skeleton_voxel_inside_itself():
    mask = np.zeros((30, 30, 30), bool)
    mask[0:2, 0:2, 0:20] = True  # at the border of the array
    mask[10:15, 10:15, 5:25] = True
    mask[28, 28, 28] = True
    found = masks.skeleton(mask)
    assert not (found & ~mask).any()
    assert found[0:2].any()
    assert found[10:15].any()
    assert found[28, 28, 28]


def test_an_empty_prediction_has_dice_0_but_half_a_class_mean():
    reference = box(1, 1, 5)
    found = masks.dice(np.zeros_like(reference), reference)
    assert found["dice"] == 0
    assert 0.45 < found["dice_class_mean"] < 0.5


def test_surface_distance_is_in_um_along_each_axis():
    p, r = np.zeros((9, 9, 9), bool), np.zeros((9, 9, 9), bool)
    p[1, 4, 4] = r[3, 4, 4] = True
    assert masks.surfaces(p, r, (3.0, 0.5, 0.5), tolerance=6)["hausdorff"] == 6
    assert masks.surfaces(p, r, (3.0, 0.5, 0.5), tolerance=6)["surface_dice"] == 1
    assert masks.surfaces(p, r, (3.0, 0.5, 0.5), tolerance=5.9)["surface_dice"] == 0
