"""What the workflow plans for every shape of input; the folders and names it makes of a config."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from snakemake_runs import DENSE, counts, environment, planned, simulated, snakemake

from conftest import ROOT
from pipeline import given, needs, project
from pipeline.__main__ import COMMANDS, STAGES
from pipeline.errors import InputError
from pipeline.network import contract
from pipeline.stages import VERSIONS


@pytest.fixture
def weights_file(tmp_path):
    """Weights by their header alone: plans do not look further."""
    about = contract.Contract((5, 32, 32), (1, 32, 32), ("neurite",), "x", ((1,) * 3,) * 2, True, {}, {})
    header = json.dumps({"__metadata__": {contract.ENTRY: about.header()}}).encode()
    path = tmp_path / "weights.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    return path


def make_folder(folder: Path, names: list[str]) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1 1 0 0 0 1 -1\n" if path.suffix == ".swc" else "")
    return folder


TRAINING_OF_ONE = {"ingest": 1, "train_network": 1, "train": 1, "total": 3}
SHEET = (
    "sample\timage\tvoxel_size\treference\treference_unit\troot\n"
    "one\ta.tif\t1.0,0.33,0.33\ta.swc\tvoxel\t1,2,3\n"
    "two\tb.tif\n"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "sheet", "samples"),
    [
        (["a.tif", "b.tif", "a.swc"], "", 2),
        (["a.tif", "b.tif", "a.swc"], SHEET, 2),
        (["deep/er/a.tif", "deep/b.ome.tif"], "", 2),
        (["b c.tif", "ü.tif", "x;y.tif", "a'b.tif", "$HOME.tif", "#1.tif", "b c.swc"], "", 6),
    ],
    ids=["folder", "sheet", "nested", "odd names"],
)
def test_plan_of_a_dataset(tmp_path, weights_file, names, sheet, samples):
    folder = make_folder(tmp_path / "data", names)
    if sheet:
        (folder / "samples.tsv").write_text(sheet)
    config = {"dataset": str(folder), "weights": str(weights_file)}
    assert planned(tmp_path, config=config) == counts(samples)


@pytest.mark.slow
def test_plan_of_the_example_dataset_simulates_it(tmp_path, weights_file):
    jobs = planned(tmp_path, config={"weights": str(weights_file), "simulate": {"neurons": 4}})
    assert jobs == simulated(4)


@pytest.mark.slow
def test_a_dataset_of_both_modalities_takes_the_stages_of_each(tmp_path, weights_file):
    folder = make_folder(tmp_path / "data", ["a.tif", "b.tif", "b_labels.tif"])
    (folder / "b.h5").touch()
    rows = ["sample\timage\treference\tmodality", "a\ta.tif\t\tlm", "b\tb.tif\t\tem", "c\tb.tif\tb.h5:/x\tem"]
    (folder / "samples.tsv").write_text("\n".join(rows))
    shutil.copy(weights_file, tmp_path / "em.safetensors")
    weights = {"lm": str(weights_file), "em": str(tmp_path / "em.safetensors")}
    jobs = planned(tmp_path, config={"dataset": str(folder), "weights": weights})
    # The two rows of one image share its volumes.
    assert {name: jobs[name] for name in DENSE[4:]} == {
        "agglomerate": 1,
        "skeletonize": 2,
        "evaluate_cells": 2,
        "draw_cells": 2,
    }
    assert jobs["ingest"] == 2 and jobs["trace"] == jobs["evaluate"] == jobs["draw"] == 1


@pytest.mark.slow
def test_plan_of_the_tissue_simulates_it(tmp_path, weights_file):
    jobs = planned(tmp_path, config={"weights": str(weights_file), "modality": "em"})
    assert jobs == {**dict.fromkeys(DENSE, 2), "simulate": 1, "summarize": 1, "all": 1, "total": 8 * 2 + 3}


@pytest.mark.slow
def test_without_weights_the_plan_trains_first(tmp_path):
    config = {"dataset": str(make_folder(tmp_path / "data", ["a.tif", "a.swc", "b.tif"])), "weights": ""}
    assert planned(tmp_path, config=config) == counts(2, train_network=1, total=8 * 2 + 4)


@pytest.mark.slow
def test_train_is_a_target_that_needs_no_weights(tmp_path):
    config = {"dataset": str(make_folder(tmp_path / "data", ["a.tif", "a.swc"])), "weights": "none/such"}
    assert planned(tmp_path, "train", config=config) == TRAINING_OF_ONE


@pytest.mark.slow
def test_labels_beside_an_image_are_an_input_of_the_training(tmp_path):
    folder = make_folder(tmp_path / "data", ["a.ome.tif", "a_labels.tif", "b.tif"])
    config = {"dataset": str(folder), "weights": ""}
    assert planned(tmp_path, "train", config=config)["ingest"] == 1
    found = project.open_project(config)
    assert found.taught("lm") == ["a"]
    assert f"\t{folder}/a_labels.tif\t" in found.training_sheet("lm")
    assert found.truths("lm") == [folder / "a_labels.tif"]
    assert "truth=lambda wildcards: PROJECT.truths(" in (ROOT / "workflow/rules/train.smk").read_text()


def test_labels_within_a_file_are_taught_from_the_file(tmp_path):
    folder = make_folder(tmp_path / "data", ["a.h5"])
    (folder / "samples.tsv").write_text("sample\timage\treference\na\ta.h5:/raw\ta.h5:/labels\n")
    found = project.open_project({"dataset": str(folder), "weights": ""})
    assert found.truths("lm") == found.image("a") == [folder / "a.h5"]
    assert f"\t{folder}/a.h5:/labels\t" in found.training_sheet("lm")


@pytest.mark.slow
def test_the_shipped_weights_are_found_from_any_folder(tmp_path):
    folder = make_folder(tmp_path / "data", ["a.tif"])
    assert planned(tmp_path, config={"dataset": str(folder)}) == counts(1)


SHARED_IMAGE = (
    "sample\timage\troot\tvoxel_size\n"
    "left\ta.tif\t1,1,1\nother\tb.tif\nright\ta.tif\t9,9,1\nwide\ta.tif\t\t2,2,2\n"
)


@pytest.mark.slow
def test_two_neurons_of_an_image_share_all_that_is_made_before_trace(tmp_path, weights_file):
    folder = make_folder(tmp_path / "data", ["a.tif", "b.tif"])
    (folder / "samples.tsv").write_text(SHARED_IMAGE)
    jobs = planned(tmp_path, config={"dataset": str(folder), "weights": str(weights_file)})
    assert {jobs[rule] for rule in ("ingest", "tile", "infer", "stack", "segment")} == {3}
    assert {jobs[rule] for rule in ("trace", "evaluate", "draw")} == {4}


def test_neurons_of_an_image_lie_in_one_batch(tmp_path, weights_file):
    folder = make_folder(tmp_path / "data", ["a.tif", "b.tif"])
    (folder / "samples.tsv").write_text(SHARED_IMAGE)
    found = project.open_project({"dataset": str(folder), "weights": str(weights_file), "batch": 2})
    assert found.batches() == {"0000": ["left", "right"], "0001": ["other", "wide"]}
    assert found.volumes == {"left": "left", "other": "other", "right": "left", "wide": "wide"}


def test_the_modality_of_a_sample_is_what_the_sheet_says_else_the_config(tmp_path, weights_file):
    folder = make_folder(tmp_path / "data", ["a.tif", "b.tif", "c.tif"])
    sheet = "sample\timage\tmodality\na\ta.tif\tlm\nb\tb.tif\tem\nc\tc.tif\n"
    (folder / "samples.tsv").write_text(sheet)
    for default in ("lm", "em"):
        weights = {"lm": str(weights_file), "em": "other"}
        found = project.open_project({"dataset": str(folder), "weights": weights, "modality": default})
        assert [found.modality(name) for name in "abc"] == ["lm", "em", default]
        assert found.of_modality(default) == [name for name in "abc" if found.modality(name) == default]
        assert found.many_trees("b") and not found.many_trees("a")
        assert found.weights("lm") == str(weights_file)


def test_one_weights_file_for_a_dataset_of_two_modalities_is_refused(tmp_path, weights_file):
    folder = make_folder(tmp_path / "data", ["a.tif", "b.tif"])
    config = {"dataset": str(folder), "weights": str(weights_file)}
    (folder / "samples.tsv").write_text("sample\timage\tmodality\na\ta.tif\tem\nb\tb.tif\tem\n")
    assert project.open_project(config).weights("em") == str(weights_file)
    (folder / "samples.tsv").write_text("sample\timage\tmodality\na\ta.tif\tlm\nb\tb.tif\tem\n")
    with pytest.raises(InputError, match="one file, .*for a dataset of two modalities"):
        project.open_project(config)


@pytest.mark.slow
@pytest.mark.parametrize(("pretrain", "ingested"), [("none", 1), ("gaussian_mask", 2)])
def test_train_takes_labels_of_electron_microscopy(tmp_path, pretrain, ingested):
    folder = make_folder(tmp_path / "data", ["a.tif", "b.tif", "truth.h5"])
    (folder / "samples.tsv").write_text(
        "sample\timage\treference\tmodality\na\ta.tif\ttruth.h5:/labels\tem\nb\tb.tif\t\tem\n"
    )
    config = {"dataset": str(folder), "modality": "em", "train_em": {"pretrain": pretrain}}
    assert planned(tmp_path, "train", config=config) == {
        "ingest": ingested,
        "train_network": 1,
        "train": 1,
        "total": ingested + 2,
    }


@pytest.mark.slow
def test_train_begins_with_what_dino_made_of_pictures_and_stacks(tmp_path):
    folder = make_folder(tmp_path / "data", ["a.tif", "a.swc", "b.tif", "photographs/1.png"])
    config = {
        "dataset": str(folder),
        "train": {"pretrain": "dino"},
        "dino": {"pictures": f"{folder / 'photographs'} stacks"},
    }
    assert planned(tmp_path, "train", config=config) == {
        "ingest": 2,
        "dino": 1,
        "train_network": 1,
        "train": 1,
        "total": 5,
    }
    del config["train"]
    assert planned(tmp_path, "train", config=config) == TRAINING_OF_ONE


@pytest.mark.slow
def test_ablation_of_light_microscopy_trains_and_scores_each_variant(tmp_path):
    names = [f"{name}.{kind}" for name in "abc" for kind in ("tif", "swc")]
    folder = make_folder(tmp_path / "data", [*names, "vit.pth"])
    config = {"dataset": str(folder), "ablation_lm": {"start": str(folder / "vit.pth"), "seeds": 1}}
    trainings = 4 * 2 + 3
    assert planned(tmp_path, "ablation", config=config) == {
        "ingest": 3,
        "ablation_lm_train": trainings,
        "ablation_lm_score": trainings,
        "ablation_lm": 1,
        "ablation": 1,
        "total": 3 + 2 * trainings + 2,
    }
    del config["ablation_lm"]["start"]
    status, said = snakemake(tmp_path, "ablation", "--dry-run", config=config)
    assert status != 0 and "ablation_lm.start: empty" in said


@pytest.mark.slow
def test_ablation_trains_and_scores_each_variant(tmp_path):
    folder = make_folder(tmp_path / "data", ["a.tif", "a_labels.tif", "b.tif", "b_labels.tif", "c.tif"])
    config = {"dataset": str(folder), "modality": "em", "ablation": {"seeds": 1}}
    trainings = 3 * 2 * 4 * 2
    assert planned(tmp_path, "ablation_em", config=config) == {
        "ingest": 3,
        "ablation_pretrain": 3,  # one for a, for b and for both, shared by all that begin with it
        "ablation_train": trainings,
        "ablation_score": trainings,
        "ablation_em": 1,
        "total": 3 + 3 + 2 * trainings + 1,
    }


@pytest.mark.slow
def test_plan_in_batches_is_a_job_a_batch(tmp_path, weights_file):
    folder = make_folder(tmp_path / "data", [f"{index}.tif" for index in range(7)])
    config = {"dataset": str(folder), "weights": str(weights_file), "batch": 3}
    assert planned(tmp_path, config=config) == {
        "batch": 3,
        "check": 1,
        "summarize": 1,
        "all": 1,
        "total": 6,
    }


@pytest.mark.slow
def test_plan_for_a_cluster(tmp_path, weights_file):
    pytest.importorskip("snakemake_executor_plugin_slurm")
    folder = make_folder(tmp_path / "data", ["a.tif", "b.tif"])
    profile = ["--workflow-profile", str(ROOT / "workflow/profiles/slurm")]
    config = {"dataset": str(folder), "weights": str(weights_file)}
    assert planned(tmp_path, *profile, config=config) == counts(2)
    assert planned(tmp_path, *profile, config={**config, "batch": 2})["batch"] == 1


def test_the_clusters_profile_repeats_the_default_one():
    default = yaml.safe_load((ROOT / "profiles/default/config.yaml").read_text())
    slurm = yaml.safe_load((ROOT / "workflow/profiles/slurm/config.yaml").read_text())
    assert default.items() <= slurm.items()
    rules = set(
        re.findall(r"^ *rule (\w+):", "".join(p.read_text() for p in ROOT.glob("workflow/**/*.smk")), re.M)
    )
    rooms = "".join(path.read_text() for path in ROOT.glob("workflow/**/*.smk"))
    for rule in {*slurm["set-threads"], *slurm["set-resources"]}:
        assert rule in rules
        assert "shell:" in re.split(r"^ *rule ", rooms.split(f"rule {rule}:")[1], flags=re.M)[0], (
            f"{rule} runs nothing"
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"trace": {"gap_mu": 3}}, "trace.gap_mu: is not a setting (did you mean trace.gap_um?)"),
        ({"dataset": "no/such"}, "no/such: no such folder"),
        ({"dataset": "."}, "no image file below it"),
        ({"segmnt": {"low": 0.4}}, "segmnt: is not a setting (did you mean segment?)"),
        ({"segment": {"low": 0.6, "high": 0.3}}, "segment.low: found 0.6, above high"),
        ({"train": {"depth": 4}}, "train.depth: found 4; allowed: an odd number"),
        ({"results": "re{s}"}, "results: found 're{s}'; allowed: a path without { }"),
        ({"results": "text.safetensors/deep"}, "text.safetensors is a file"),
        ({"weights": "none.safetensors"}, "weights: none.safetensors: no such file"),
        ({"weights": "text.safetensors"}, "weights: text.safetensors: not a safetensors file"),
    ],
    ids=[
        "setting",
        "no folder",
        "no image",
        "section",
        "order",
        "even",
        "braces",
        "file for a folder",
        "no weights",
        "no such weights",
    ],
)
def test_mistake_ends_the_run_with_one_clear_line(tmp_path, config, words):
    (tmp_path / "text.safetensors").write_text("these are no weights, but more than eight bytes")
    status, said = snakemake(tmp_path, config=config)
    assert status != 0
    assert "Traceback" not in said
    assert words in said.strip().splitlines()[-1]
    assert not (tmp_path / "results/metrics.tsv").exists()


def test_every_stage_has_a_version_and_every_rule_that_calls_it_passes_it():
    assert set(VERSIONS) == set(STAGES)
    called = set()
    for path in ROOT.glob("workflow/**/*.smk"):
        for rule in re.split(r"^ *rule ", path.read_text(), flags=re.MULTILINE)[1:]:
            for stage in set(re.findall(r"python -m pipeline (\w+)", rule)) - set(COMMANDS):
                called.add(stage)
                assert f'version=VERSIONS["{stage}"]' in rule, f"{path.name}: rule {rule.split(':')[0]}"
            if "python -m pipeline {params.stage}" in rule:  # the one rule of both trainings
                called |= {"train", "train_em"}
                assert "version=lambda wildcards: VERSIONS[TRAINING[wildcards.modality]]" in rule
    assert called == set(STAGES)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [[], ["--snakefile", "workflow/batch.smk"]])
def test_snakemake_finds_nothing_to_remark(arguments):
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--lint", *arguments],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_memory_and_time_grow_with_image_and_attempt():
    need = needs.Need(mb=1000, bytes_per_voxel=10, minutes=5, seconds_per_megavoxel=6)
    assert need.mem_mb(0, attempt=1) == 1000
    assert need.mem_mb(100_000_000, attempt=2) == 2 * (1000 + 1000)
    assert need.runtime(100_000_000, attempt=3) == 3 * (5 + 10)


@pytest.mark.parametrize("stage", needs.NEEDS)
def test_the_docs_say_what_a_stage_asks_for(stage):
    need = needs.NEEDS[stage]
    row = f"| {stage} | {need.mb:g}"
    row += f" + {need.bytes_per_voxel:g} a million voxels" if need.bytes_per_voxel else ""
    assert row + f" | {need.minutes:g}" in (ROOT / "docs/cluster.md").read_text()


def test_a_results_folder_is_held_by_one_run_and_free_after_it(tmp_path):
    with project.hold(tmp_path), pytest.raises(InputError, match=f"process {os.getpid()} on"):
        project.hold(tmp_path)
    project.hold(tmp_path).close()


# --- paths and names ---


@pytest.mark.parametrize("text", ["2024_05_01", "007", "1e3", "true", "1.50"])
def test_a_name_that_looks_like_a_number_stays_as_it_was_typed(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    make_folder(tmp_path / "data", ["a.tif"])
    read = {"dataset": "data", "results": 20240501.0, "batch": 2}  # whatever the engine made of it
    found = project.open_project(read, typed=["dataset=data", f"results={text}", "batch=2"])
    assert (found.settings.results, found.settings.batch) == (text, 2)
    (tmp_path / "my.yaml").write_text(f"results: {text}\nbatch: 2\ntrace:\n  gap_um: 3\n")
    typed = given.typed_in_files([tmp_path / "my.yaml"])
    assert project.open_project(read, typed=typed).settings.results == text


def test_a_path_is_one_however_it_is_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    make_folder(tmp_path / "data", ["a.tif"])
    typed = ["data", "./data/", "../" + tmp_path.name + "/data", str(tmp_path / "data")]
    found = [project.open_project({"dataset": path, "results": path + "/r"}) for path in typed]
    assert {str(one.samples["a"].image) for one in found} == {"data/a.tif"}
    assert {one.settings.results for one in found} == {"data/r"}
    assert given.canonical("~/out") == "home/out"
    assert given.canonical("/elsewhere/x/") == "/elsewhere/x"
    assert given.canonical("") == ""


def test_what_all_asks_for_is_every_promised_file_of_a_sample(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_folder(tmp_path / "data", ["a.tif", "b.tif"])
    found = project.open_project({"dataset": "data", "results": "r"})
    names = ("a.swc", "a.confidence.tsv", "neurons.tsv", "metrics.json", "overview.png")
    assert found.wanted()[:5] == [f"r/a/{name}" for name in names]
    every = project.open_project({"dataset": "data", "results": "r", "trace": {"neurons": "all"}})
    assert every.wanted()[0] == "r/a/trees" and len(every.wanted()) == 8
    # Of batches only what a batch that was done lacks.
    batches = project.open_project({"dataset": "data", "results": "r", "batch": 2})
    assert batches.wanted() == []
    make_folder(tmp_path / "r", ["batches/0000/metrics.tsv", *(f"a/{name}" for name in names[1:])])
    assert [path for path in batches.wanted() if path.startswith("r/a/")] == ["r/a/a.swc"]


def test_a_file_replaced_by_an_older_one_is_seen(tmp_path):
    make_folder(tmp_path / "data", ["a.tif", "z.zarr/zarr.json", "z.zarr/0/zarr.json", "s/1.tif", "s/2.tif"])
    folder, results = tmp_path / "data", str(tmp_path / "r")
    seen = {}
    for age in (100, 200):
        for file in ("a.tif", "z.zarr/0/zarr.json", "s/1.tif"):
            os.utime(folder / file, (age, age))
        given.mark.cache_clear()
        found = project.open_project({"dataset": str(folder), "results": results})
        seen[age] = [found.seen(folder / name) for name in ("a.tif", "z.zarr", "s")]
    assert all(first != second for first, second in zip(*seen.values()))
    # What a rule makes is not there when the plan is made: it must not look changed afterwards.
    make_folder(tmp_path / "r/trained", ["lm.safetensors"])
    assert found.seen(Path(results) / "trained/lm.safetensors") == ""
    # Images are seen where the results lie beside them too.
    beside = project.open_project({"dataset": str(folder), "results": str(folder)})
    assert beside.seen(folder / "a.tif") == seen[200][0] != ""


@pytest.mark.slow
def test_a_dry_run_tells_what_is_wrong_with_the_sheet(tmp_path, weights_file):
    folder = make_folder(tmp_path / "data", ["a.tif"])
    (folder / "samples.tsv").write_text("sample\timage\tvoxel_size\na\ta.tif\t0,1,1\nb\tnone.tif\t\n")
    status, said = snakemake(tmp_path, "-n", config={"dataset": str(folder), "weights": str(weights_file)})
    assert status == 0
    assert said.count("samples.tsv line 2") == said.count("samples.tsv line 3") == 1
