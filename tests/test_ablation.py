"""The ablation of electron microscopy: which trainings, how they are scored, what the table says."""

import csv
from fnmatch import fnmatch

import numpy as np
import pytest
import tifffile

from pipeline import config
from pipeline.ablation import Variant, pretrainings, variants
from pipeline.config.ablation import Ablation
from pipeline.errors import InputError
from pipeline.stages import ablation_score, ablation_table, ingest, train_em

TINY = config.TrainEm(widths="2,3,3,4,5", depth=8, height=16, width=16)
SMALL = Ablation(steps=2, pretrain_steps=2, seeds=2, mixings="both", label_shares="0.5", test_share=0.4)


def read(path):
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_every_kind_is_trained_once_a_seed_on_each_volume_and_on_all():
    names = variants(Ablation(), ["fib", "gala"])
    assert len(names) == 3 * 2 * 4 * 2 * 2
    assert len(variants(Ablation(), ["fib"])) == 2 * 4 * 2 * 2
    assert variants(Ablation(), []) == {}
    assert all(variant.name == name for name, variant in names.items())


def test_a_variant_changes_what_it_asks_and_nothing_else():
    base = TINY.model_copy(update={"erosion": 2})
    variant = Variant("a", "pretrained", "frequency", "0.25", 1)
    made = variant.settings(base, Ablation(), ["a", "b 1", "[c]"], start="before.safetensors")
    assert (made.start, made.pretrain) == ("before.safetensors", "none")
    assert (made.mix_frequency, made.cut_mix) == (0.25, 0.0)
    assert (made.label_share, made.seed, made.erosion, made.widths) == (0.25, 1, 2, base.widths)
    assert all(
        any(fnmatch(name, each) for each in made.validation.split()) == (name != "a")
        for name in ("a", "b 1", "[c]")
    )


def test_trainings_of_one_seed_and_volume_share_one_pre_training():
    made = variants(Ablation(), ["fib", "gala"])
    shared = pretrainings(made)
    assert len(shared) == 3 * 2
    assert all(variant.pretraining == name for name, variant in shared.items())
    assert {variant.pretraining for variant in made.values()} == {"", *shared}
    before = shared["before_only_fib-pretrained-none-1-1"].settings_before(
        TINY, Ablation(pretrain_steps=7), ["fib", "gala"]
    )
    assert (before.pretrain, before.pretrain_steps, before.steps, before.seed) == ("gaussian_mask", 7, 0, 1)
    assert (before.validation, before.label_share) == ("gala", 1.0)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"mixings": "none,all"}, "ablation.mixings: found 'none,all'; allowed: some of none,frequency"),
        ({"starts": ""}, "ablation.starts: found ''"),
        ({"betas": "0.3,1"}, "ablation.betas: found '0.3,1'; allowed: numbers between 0 and 1"),
        ({"label_shares": "half"}, "ablation.label_shares: found 'half'"),
    ],
)
def test_wrong_lists_are_told(values, said):
    with pytest.raises(InputError, match=said):
        config.load({"ablation": values})


@pytest.mark.slow
def test_trainings_become_scores_and_scores_a_table(tmp_path, one_thread):
    labels = np.zeros((20, 32, 32), np.uint16)
    labels[:, 1:15, 1:31], labels[:, 17:31, 1:31] = 1, 2
    grey = np.where(labels > 0, 170, 60).astype(np.uint8)
    grey[:, 0, 0] = 0
    rows = ["sample\timage\treference\treference_unit"]
    for name in "ab":
        tifffile.imwrite(tmp_path / f"{name}.tif", grey)
        tifffile.imwrite(tmp_path / f"{name}_labels.tif", labels)
        ingest.run(tmp_path / f"{name}.tif", tmp_path / f"{name}.zarr", voxel_size="0.01,0.01,0.01")
        rows.append(f"{name}\t{tmp_path}/{name}.zarr\t{tmp_path}/{name}_labels.tif\tum")
    sheet = tmp_path / "samples.tsv"
    sheet.write_text("\n".join(rows) + "\n")
    made = [variant for variant in variants(SMALL, ["a", "b"]).values() if variant.trained_on == "a"]
    assert len(made) == 4
    before = tmp_path / "before.safetensors"
    train_em.run([sheet], output=before, workers=0, settings=made[2].settings_before(TINY, SMALL, ["a", "b"]))
    assert made[2].start == "pretrained"
    for variant in made[:3]:
        start = str(before) if variant.pretraining else ""
        settings = variant.settings(TINY, SMALL, ["a", "b"], start=start)
        weights = tmp_path / f"{variant.name}.safetensors"
        train_em.run([sheet], output=weights, workers=0, settings=settings)
        ablation_score.run(sheet, weights, output=tmp_path / f"{variant.name}.tsv", betas="0.5")
    scored = read(tmp_path / f"{made[0].name}.tsv")
    assert [(row["tested_on"], row["seen"], row["restricted"]) for row in scored] == [
        ("a", "True", "True"),
        ("b", "False", "True"),
        ("a", "True", "False"),
        ("b", "False", "False"),
    ]
    assert {(row["start"], row["mixing"], row["labels"]) for row in scored} == {("scratch", "both", "0.5")}
    assert {row["start"] for row in read(tmp_path / f"{made[2].name}.tsv")} == {"pretrained"}
    files = [tmp_path / f"{variant.name}.tsv" for variant in made[:2]]
    ablation_table.run(files, output=tmp_path / "ablation.tsv")
    table = read(tmp_path / "ablation.tsv")
    assert [row["seeds"] for row in table] == ["2"] * 4
    ours = next(row for row in table if (row["tested_on"], row["restricted"]) == ("b", "True"))
    each = [
        float(row["vi"])
        for file in files
        for row in read(file)
        if (row["tested_on"], row["restricted"]) == ("b", "True")
    ]
    assert float(ours["vi"]) == pytest.approx(np.mean(each), rel=1e-4)
    assert float(ours["vi_spread"]) == pytest.approx(abs(each[0] - each[1]), rel=1e-3, abs=1e-4)
