"""The ablation of light microscopy: which trainings, how they are scored, what the table says."""

import csv
import json

import numpy as np
import pytest
import tifffile
from safetensors.torch import save_file

from conftest import line
from pipeline import config, swc
from pipeline.ablation_lm import Variant, held_out, variants
from pipeline.config.ablation_lm import AblationLm
from pipeline.errors import InputError
from pipeline.network import source
from pipeline.network.slices import Architecture
from pipeline.network.vit2d import Vit2d
from pipeline.stages import ablation_lm_score, ablation_lm_table, ingest, train

NAMES = ["a", "b", "c", "d", "e", "f"]


def read(path):
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_every_transfer_is_trained_once_a_seed_on_each_set_and_center_in_every_depth():
    made = variants(AblationLm(), config.Train(), NAMES)
    assert len(made) == 4 * 2 * 3 + 3 * 3
    assert {variant.trained_on for variant in made.values()} == {("a",), ("a", "b", "d", "e")}
    assert {variant.depth for variant in made.values()} == {1, 3, 5, 9}
    assert all(variant.name == name for name, variant in made.items())
    assert variants(AblationLm(), config.Train(), ["a", "b"]) == {}, "nothing to score"


def test_other_starts_are_centers_of_the_smallest_set():
    plain = variants(AblationLm(start="a/deit.pth"), config.Train(), NAMES)
    both = variants(AblationLm(start="a/deit.pth", starts="b/dino.pth c.pth"), config.Train(), NAMES)
    added = [each for name, each in both.items() if name not in plain]
    assert {(each.start, each.transfer, each.trained_on) for each in added} == {
        ("b/dino.pth", "center", ("a",)),
        ("c.pth", "center", ("a",)),
    }
    assert len(added) == 2 * 3 and len(both) == len(plain) + len(added)
    kinds = {each.kind(AblationLm(start="a/deit.pth")).split(",")[0] for each in both.values()}
    assert kinds == {"start=deit", "start=dino", "start=c"}


def test_what_is_scored_is_never_trained_on():
    budget = AblationLm(test="c x*")
    assert held_out(budget, ["c", "x1", "b"]) == ["c", "x1"]
    for variant in variants(budget, config.Train(), ["c", "x1", "b"]).values():
        assert variant.trained_on == ("b",)
        assert variant.settings(config.Train(), budget, ["c", "x1", "b"], start="v").validation == "c x1"


def test_a_variant_changes_what_it_asks_and_nothing_else():
    base = config.Train(window=64, simulated=3)
    made = Variant("tubular", ("a",), 3, 2).settings(base, AblationLm(steps=7), ["a", "b c"], start="v.pth")
    assert (made.start, made.transfer, made.depth, made.seed, made.steps) == ("v.pth", "tubular", 3, 2, 7)
    assert (made.window, made.simulated, made.validation) == (64, 3, "b?c")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"transfers": "center,best"},
            "ablation_lm.transfers: found 'center,best'; allowed: some of scratch",
        ),
        ({"stacks": "few"}, "ablation_lm.stacks: found 'few'"),
        ({"depths": "2"}, "ablation_lm.depths: found '2'; allowed: odd numbers"),
        ({"start": "a/vit.pth", "starts": "b/vit.pth"}, "ablation_lm.starts: found .*different names"),
    ],
)
def test_wrong_lists_are_told(values, said):
    with pytest.raises(InputError, match=said):
        config.load({"ablation_lm": values})


def test_the_table_tells_means_spreads_and_differences_of_equal_seeds():
    def row(transfer, seed, tested_on, dice, start="deit"):
        about = {
            "start": start,
            "transfer": transfer,
            "stacks": "1",
            "depth": "5",
            "seed": seed,
            "steps": "9",
            "parameters": "3",
            "seconds": "4" if seed == "0" else "5",
        }
        others = dict.fromkeys(("dice_class_mean", "hd95_um", "f1", "esa_um"), "1")
        return {**about, "tested_on": tested_on, "dice": dice, **others}

    rows = [row("scratch", "0", "x", "0.1"), row("scratch", "1", "x", "0.3")]
    rows += [row("center", "0", "x", "0.5"), row("center", "1", "x", "0.4")]
    rows.append(row("center", "1", "x", "0.8", start="dino"))
    rows += [row("scratch", seed, "y", "0.9") for seed in "01"] + [
        row("center", seed, "y", "0.7") for seed in "01"
    ]
    whole = ablation_lm_table.summary(rows)
    other = [each for each in whole if each["start"] == "dino" and each["tested_on"] == "x"]
    assert [(each["transfer"], each["seeds"]) for each in other] == [("center", 1)]
    assert other[0]["dice_gain"] == pytest.approx(0.8 - 0.3), "beside scratch of the same seed"
    table = {(each["transfer"], each["tested_on"]): each for each in whole if each["start"] == "deit"}
    center = table["center", "x"]
    told = [
        center[name] for name in ("dice", "dice_spread", "dice_gain", "dice_gain_least", "dice_gain_most")
    ]
    assert told == pytest.approx([0.45, 0.1, 0.25, 0.1, 0.4])
    assert np.isnan(table["scratch", "x"]["dice_gain"])
    assert center["seconds"] == 4.5
    assert table["center", "mean"]["dice"] == pytest.approx((0.45 + 0.7) / 2)
    assert table["center", "mean"]["dice_gain"] == pytest.approx((0.25 - 0.2) / 2)
    assert table["center", "x"]["hd95_um_gain"] == 0 and table["center", "x"]["seeds"] == 2


@pytest.mark.slow
def test_trainings_become_scores_and_scores_a_table(tmp_path, one_thread):
    rng = np.random.default_rng(0)
    rows = ["sample\timage\treference\treference_unit"]
    for name in ("a", "b"):
        voxels = rng.integers(90, 111, (7, 48, 48)).astype(np.uint8)
        voxels[2:5, 23:26, 4:44] = 250
        tifffile.imwrite(tmp_path / f"{name}.tif", voxels)
        ingest.run(tmp_path / f"{name}.tif", tmp_path / f"{name}.zarr", voxel_size="1,0.5,0.5")
        swc.write(tmp_path / f"{name}.swc", line((2, 12, 3), (22, 12, 3)), header={})
        rows.append(f"{name}\t{tmp_path}/{name}.zarr\t{tmp_path}/{name}.swc\tum")
    (tmp_path / "s.tsv").write_text("\n".join(rows) + "\n")
    tiny = Vit2d(Architecture(tile=32, width=64, heads=1, blocks=4)).state_dict()
    save_file(tiny, tmp_path / "vit.safetensors", {source.ENTRY: json.dumps({"heads": 1})})
    budget = AblationLm(start=str(tmp_path / "vit.safetensors"), steps=2, seeds=1, test="b", depths="1")
    base = config.Train(window=32, batch=1, simulated=0, remade=0)
    made, scores = variants(budget, base, ["a", "b"]), []
    assert len(made) == 4 + 1
    for name, variant in made.items():
        weights, scored = tmp_path / f"{name}.safetensors", tmp_path / f"{name}.tsv"
        settings = variant.settings(base, budget, ["a", "b"], start=budget.start)
        train.run([tmp_path / "s.tsv"], output=weights, workers=0, settings=settings)
        scored = tmp_path / f"{name}.scores.tsv"
        ablation_lm_score.run(
            tmp_path / "s.tsv",
            weights,
            output=scored,
            tested="b",
            kind=variant.kind(budget),
            root=["b=5,24,3"],
        )
        scores.append(scored)
    ablation_lm_table.run(scores, output=tmp_path / "ablation_lm.tsv")
    table = read(tmp_path / "ablation_lm.tsv")
    assert len(table) == 2 * 5
    size = {row["transfer"]: int(row["parameters"]) for row in table if row["depth"] == "5"}
    assert size["scratch"] == size["average"] == size["center"] < size["tubular"]
    assert all(0 <= float(row["dice"]) <= 1 and 0 <= float(row["f1"]) <= 1 for row in table)
    assert (tmp_path / "ablation_lm.png").read_bytes().startswith(b"\x89PNG")
