"""The workflow: plans for every shape of input, and one tiny dataset through all of it."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml

from conftest import ROOT, line, save_slices
from pipeline import given, needs, project, rasterise, swc
from pipeline.__main__ import COMMANDS, STAGES
from pipeline.errors import InputError
from pipeline.network import contract
from pipeline.stages import VERSIONS

VOXEL_SIZE = (1.0, 0.5, 0.5)
DENSE = ("ingest", "tile", "infer", "stack", "agglomerate", "skeletonize", "evaluate_cells", "draw_cells")
PER_SAMPLE = ("ingest", "tile", "infer", "stack", "segment", "trace", "evaluate", "draw")


def command(folder: Path, *arguments: str, config: dict) -> list[str]:
    pairs = [
        f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in config.items()
    ]
    snakemake = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    return [*snakemake, "--directory", str(folder), "--cores", "2", *arguments, "--config", *pairs]


def environment(**more: str) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **more}


def snakemake(folder: Path, *arguments: str, config: dict, **more: str) -> tuple[int, str]:
    """Exit status and everything said of a run in `folder`."""
    done = subprocess.run(
        command(folder, *arguments, config=config),
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    return done.returncode, done.stdout


def planned(folder: Path, *arguments: str, config: dict, **more: str) -> dict[str, int]:
    """{rule: number of jobs} of a dry run."""
    status, said = snakemake(folder, "--dry-run", *arguments, config=config, **more)
    assert status == 0, said
    if "Nothing to be done" in said:
        return {}
    table = said.rsplit("Job stats:", 1)[1].split("\n\n")[0]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, flags=re.MULTILINE)}


def counts(samples: int, **more: int) -> dict[str, int]:
    once = {"check": 1, "summarize": 1, "all": 1, "total": 8 * samples + 3}
    return {**dict.fromkeys(PER_SAMPLE, samples), **once, **more}


def simulated(samples: int) -> dict[str, int]:
    """The jobs of the example, which needs no check."""
    jobs = counts(samples, simulate=1)
    del jobs["check"]
    return jobs


def read_table(path: Path) -> dict[str, dict[str, str]]:
    with open(path, encoding="utf-8") as file:
        return {row["sample"]: row for row in csv.DictReader(file, delimiter="\t")}


# --- plans -----------------------------------------------------------------------------------------------------


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
    assert planned(tmp_path, "train", config=config) == {
        "ingest": 1,
        "train_network": 1,
        "train": 1,
        "total": 3,
    }


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
    assert planned(tmp_path, "train", config=config) == {
        "ingest": 1,
        "train_network": 1,
        "train": 1,
        "total": 3,
    }


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


# --- one tiny dataset through all of it ------------------------------------------------------------------------


def draw_neurite(path: Path, points: list[tuple[float, float, float]]) -> None:
    """A bright bent tube in 9 x 48 x 48 noisy voxels, with its tree beside it."""
    rng = np.random.default_rng(0)
    trees = [line(first, last, pieces=4) for first, last in zip(points[:-1], points[1:], strict=True)]
    inside = [rasterise.mask(tree, (9, 48, 48), VOXEL_SIZE, min_radius_um=1) for tree in trees]
    image = (10 + 190 * np.any(inside, axis=0) + rng.normal(0, 3, inside[0].shape)).clip(0, 255)
    tifffile.imwrite(
        path,
        image.astype(np.uint8),
        imagej=True,
        resolution=(2, 2),
        metadata={"axes": "ZYX", "spacing": 1.0, "unit": "um"},
    )
    swc.write(path.with_suffix(".swc"), trees[0], header={})


@pytest.fixture(scope="module")
def neurites(tmp_path_factory) -> Path:
    """A dataset of two images and a file that is none."""
    folder = tmp_path_factory.mktemp("data")
    draw_neurite(folder / "straight.tif", [(2, 12, 4), (22, 12, 4)])
    draw_neurite(folder / "bent ü.tif", [(3, 4, 4), (12, 12, 4), (21, 6, 4)])
    (folder / "broken.tif").write_bytes((folder / "straight.tif").read_bytes()[:300])
    return folder


@pytest.fixture(scope="module")
def bright_weights(neurites, tmp_path_factory) -> Path:
    """Weights of a tiny network (windows of 5 x 16 x 16) to which what is bright is neurite."""
    import torch

    from pipeline.network.slices import Architecture, SliceSegmenter

    torch.manual_seed(0)
    model = SliceSegmenter(Architecture(depth=5, tile=16, width=24, blocks=4, heads=3)).eval()
    image = torch.from_numpy(
        tifffile.imread(neurites / "straight.tif")[2:7, 16:32, 16:32].astype(np.float32) / 255
    )
    with torch.inference_mode():
        logits = model(image[None, None])
        bright = image[2] > 0.4
        logit = logits.reshape(16, 16)
        difference = (logit[bright].mean() - logit[~bright].mean()).item()
        middle = (logit[bright].mean() + logit[~bright].mean()).item() / 2
        gain = 6 / difference
        model.decoder.head.bias.sub_(middle).mul_(gain)
        model.decoder.head.weight.mul_(gain)
    return save_slices(tmp_path_factory.mktemp("weights") / "bright.safetensors", model)


@pytest.fixture(scope="module")
def settings(neurites, bright_weights) -> dict:
    tile = {"block_voxels": 65_536, "block_edge": 128}
    # What the tiny network takes for neurite is far from the image's: the image would not let it through.
    trace = {"signal": 0}
    return {
        "dataset": str(neurites),
        "weights": str(bright_weights),
        "tile": tile,
        "trace": trace,
        "draw": {"dpi": 50},
    }


@pytest.fixture(scope="module")
def first_run(settings, tmp_path_factory) -> tuple[Path, int, str]:
    folder = tmp_path_factory.mktemp("run")
    return folder, *snakemake(folder, config=settings)


def tree_bytes(folder: Path) -> dict[str, bytes]:
    paths = [
        *folder.glob("results/*/*.swc"),
        *folder.glob("results/*/metrics.json"),
        *folder.glob("results/*.tsv"),
    ]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths)}


@pytest.mark.slow
def test_a_bad_image_is_told_and_the_others_finish(first_run):
    folder, status, said = first_run
    assert status != 0
    rows = read_table(folder / "results/metrics.tsv")
    assert {name: row["status"] for name, row in rows.items()} == {
        "bent ü": "warning",  # the tiny network is not sure
        "broken": "failed",
        "straight": "warning",
    }
    assert {rows[name]["warnings"].split(" um ", 1)[1] for name in ("bent ü", "straight")} == {"are doubtful"}
    assert "broken.tif" in rows["broken"]["reason"]
    assert "failed: broken: ingest:" in said
    assert not (folder / "results/run.json").exists()


@pytest.mark.slow
def test_a_wrong_row_of_the_sheet_fails_alone(settings, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    draw_neurite(data / "good.tif", [(2, 12, 4), (22, 12, 4)])
    rows = ["sample\timage\tvoxel_size", "good\tgood.tif\t", "flat\tgood.tif\t0,1,1", "gone\tgnoe.tif\t"]
    (data / "samples.tsv").write_text("\n".join(rows))
    status, said = snakemake(tmp_path, config={**settings, "dataset": "data"})
    assert status != 0
    assert "Traceback" not in said
    found = read_table(tmp_path / "results/metrics.tsv")
    assert {name: row["status"] for name, row in found.items()} == {
        "good": "warning",  # doubtful, as above
        "flat": "failed",
        "gone": "failed",
    }
    assert "samples.tsv line 3, voxel_size: found '0,1,1'" in found["flat"]["reason"]
    assert "samples.tsv line 4, image: no such file: data/gnoe.tif" in found["gone"]["reason"]
    # Told before the first job, all of them.
    before = said.split("rule ingest")[0]
    assert "line 3, voxel_size" in before and "line 4, image" in before


@pytest.mark.slow
def test_a_good_image_becomes_a_tree_with_scores_and_a_picture(first_run):
    results = first_run[0] / "results"
    assert len(swc.read(results / "straight/straight.swc")) > 5
    assert float(read_table(results / "metrics.tsv")["straight"]["f1"]) > 0
    assert (results / "bent ü/overview.png").stat().st_size > 1000


@pytest.fixture(scope="module")
def repaired(first_run, settings, neurites) -> Path:
    """The first run's folder after the broken image is gone and the same command ran again."""
    folder = first_run[0]
    (neurites / "broken.tif").unlink()
    assert planned(folder, config=settings) == {"check": 1, "summarize": 1, "all": 1, "total": 3}
    status, said = snakemake(folder, config=settings)
    assert status == 0, said
    assert f"{Path('results/metrics.tsv')}  (scores of 2 samples)" in said
    assert str(Path("results/bent ü/overview.png")) in said
    return folder


@pytest.mark.slow
def test_the_same_command_again_does_nothing_and_says_so(repaired, settings):
    status, said = snakemake(repaired, config=settings)
    assert status == 0
    assert "Nothing to be done" in said
    assert set(read_table(repaired / "results/metrics.tsv")) == {"bent ü", "straight"}


@pytest.mark.slow
def test_a_deleted_tree_or_picture_and_an_image_replaced_by_an_older_one_are_made_again(repaired, settings):
    assert planned(repaired, config=settings) == {}
    kept = {name: (repaired / name).read_bytes() for name in ("results/straight/straight.swc",)}
    (repaired / "results/straight/straight.swc").unlink()
    after = {"trace": 1, "evaluate": 1, "draw": 1, "summarize": 1, "all": 1, "total": 5}
    assert planned(repaired, config=settings) == after
    status, said = snakemake(repaired, config=settings)
    assert status == 0, said
    assert kept == {name: (repaired / name).read_bytes() for name in kept}
    (repaired / "results/straight/overview.png").unlink()
    assert planned(repaired, config=settings)["draw"] == 1
    status, said = snakemake(repaired, config=settings)
    assert status == 0, said
    image = Path(settings["dataset"]) / "straight.tif"
    before = image.stat()
    os.utime(image, (1e9, 1e9))
    assert planned(repaired, config=settings)["ingest"] == 1
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert planned(repaired, config=settings) == {}


@pytest.mark.slow
def test_ctrl_c_leaves_rows_that_say_interrupted_and_the_same_command_goes_on(repaired, settings, tmp_path):
    running = subprocess.Popen(
        command(tmp_path, config=settings),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        # What a shell starts in the background ignores it, and so would all that tests start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    until = time.monotonic() + 300
    while not list(tmp_path.glob("results/*/log/infer.txt")) and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGINT)
    assert running.wait(timeout=60) != 0
    rows = read_table(tmp_path / "results/metrics.tsv")
    assert {row["status"] for row in rows.values()} == {"interrupted"}
    status, said = snakemake(tmp_path, config=settings)
    assert status == 0, said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "first"),
    [
        ({"trace": {"gap_um": 4.25}}, "trace"),
        ({"segment": {"high": 0.7}}, "segment"),
        ({"evaluate": {"tolerance_um": 2.5}}, "evaluate"),
        ({"tile": {"overlap": 0.5}}, "tile"),
    ],
)
def test_a_changed_setting_reruns_its_stage_and_what_follows_and_nothing_else(
    repaired, settings, change, first
):
    changed = {name: {**settings.get(name, {}), **section} for name, section in change.items()}
    jobs = planned(repaired, config={**settings, **changed})
    after = PER_SAMPLE[PER_SAMPLE.index(first) :]
    assert jobs == {**dict.fromkeys(after, 2), "summarize": 1, "all": 1, "total": 2 * len(after) + 2}


@pytest.mark.slow
def test_a_second_run_on_the_same_results_is_refused_and_changes_nothing(repaired, settings):
    before = (repaired / "results/metrics.tsv").read_bytes()
    with project.hold(repaired / "results"):
        status, said = snakemake(repaired, config={**settings, "draw": {"dpi": 60}})
    assert status != 0
    assert "another run works here" in said
    assert (repaired / "results/metrics.tsv").read_bytes() == before
    assert (repaired / "results/run.json").exists()


@pytest.mark.slow
def test_what_changes_no_bytes_reruns_nothing(repaired, settings):
    assert planned(repaired, "--cores", "1", config=settings, STACK2SWC_INFER_BATCH="3") == {}


@pytest.mark.slow
def test_trained_weights_serve_a_run_without_weights(neurites, tmp_path):
    train = {"steps": 2, "simulated": 0, "remade": 1, "start": "", "batch": 1, "window": 32, "validation": ""}
    config = {"dataset": str(neurites), "weights": "", "train": train}
    assert planned(tmp_path, config=config)["train_network"] == 1
    status, said = snakemake(tmp_path, "train", config=config)
    assert status == 0, said
    assert "results/trained/lm.safetensors  (trained weights)" in said
    jobs = planned(tmp_path, config=config)
    assert "train_network" not in jobs
    assert jobs["infer"] == jobs["draw"]


@pytest.mark.slow
def test_killed_in_the_middle_the_same_command_ends_with_the_same_bytes(repaired, settings, tmp_path):
    running = subprocess.Popen(
        command(tmp_path, config=settings),
        env=environment(),
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    until = time.monotonic() + 300
    while not list(tmp_path.glob("results/*/log/infer.txt")) and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert not (tmp_path / "results/run.json").exists()
    status, said = snakemake(tmp_path, config=settings)
    assert status == 0, said
    assert tree_bytes(tmp_path) == tree_bytes(repaired)
    assert not list(tmp_path.glob("results/**/*.tmp.*"))


@pytest.mark.slow
def test_batches_end_with_the_same_bytes_and_tell_a_bad_image(repaired, settings, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(settings["dataset"], data)
    (data / "zero.tif").write_bytes(b"no image")
    config = {**settings, "dataset": str(data), "batch": 2}
    status, said = snakemake(tmp_path, config=config)
    assert status != 0
    assert "failed: zero: ingest:" in said
    assert read_table(tmp_path / "results/metrics.tsv")["zero"]["status"] == "failed"
    (data / "zero.tif").unlink()
    status, said = snakemake(tmp_path, config=config)
    assert status == 0, said
    assert tree_bytes(tmp_path) == tree_bytes(repaired)
    assert planned(tmp_path, config=config) == {}


# --- a dense volume ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dense_weights(tmp_path_factory) -> Path:
    """Weights of a tiny affinity network (windows of 8 x 16 x 16), random but for what calls most voxels cell."""
    import torch

    from pipeline.network import weights
    from pipeline.network.affinities import AffinityNet, Architecture

    torch.manual_seed(0)
    net = AffinityNet(Architecture(widths=(2, 2, 3, 3, 4), depth=8, height=16, width=16)).eval()
    with torch.no_grad():
        for decoder in (net.affinities, net.foreground):
            decoder.outputs.weight.abs_().add_(1)
    path = tmp_path_factory.mktemp("weights") / "dense.safetensors"
    weights.save(path, net, levels="bytes 1", voxel_um=((0.008,) * 3, (0.04, 0.01, 0.01)), card={})
    return path


@pytest.fixture
def tissue(tmp_path) -> Path:
    """A dataset of two cells side by side in an HDF5 file, with their labels, a skeleton, and a sheet."""
    import h5py

    folder = tmp_path / "data"
    (folder / "known").mkdir(parents=True)
    truth = np.repeat(np.array([5, 9], np.uint64), 20) * np.ones((10, 32, 1), np.uint64)
    image = np.random.default_rng(0).normal(150, 20, truth.shape)
    image[:, :, 19:21] = 40
    with h5py.File(folder / "cells.h5", "w") as stored:
        stored["raw"], stored["labels"] = image.clip(0, 255).astype(np.uint8), truth
        stored["other"] = truth[:5]
        stored.attrs["voxel_size_nm"] = (8, 8, 8)
    swc.write(folder / "known/one.swc", line((0.04, 0.04, 0.04), (0.04, 0.2, 0.04), pieces=10), header={})
    rows = [
        "sample\timage\treference\tskeletons\tmodality",
        "both\tcells.h5:/raw\tcells.h5:/labels\tknown\tem",
        "small\tcells.h5:/raw\tcells.h5:/other\t\tem",
        "alone\tcells.h5:/raw\t\t\tem",
    ]
    (folder / "samples.tsv").write_text("\n".join(rows))
    return folder


@pytest.mark.slow
def test_a_dense_volume_becomes_cells_trees_scores_and_a_picture(tissue, dense_weights, tmp_path):
    config = {
        "dataset": str(tissue),
        "weights": {"em": str(dense_weights)},
        "skeletonize": {"min_length_um": 0.02, "dust_voxels": 10},
        "evaluate": {"cell_min_length_um": 0.05},
        "draw": {"dpi": 50},
    }
    status, said = snakemake(tmp_path, config=config)
    assert status != 0 and "Traceback" not in said
    rows = read_table(tmp_path / "results/metrics.tsv")
    assert {name: row["status"] for name, row in rows.items()} == {
        "both": "ok",
        "small": "failed",
        "alone": "ok",
    }
    assert "5 x 32 x 40 labels; allowed: 10 x 32 x 40" in rows["small"]["reason"]
    assert int(rows["both"]["cells"]) > 0
    assert (rows["both"]["cells_reference"], rows["both"]["reference_split"]) == ("2", "True")
    assert rows["both"]["neurons_reference"] == "1"
    for name in ("vi_split", "vi_merge", "are_cremi", "erl", "f1"):
        assert rows["both"][name] and not rows["alone"][name]
    assert rows["both"]["cells"] == rows["alone"]["cells"]
    assert len(list((tmp_path / "results/both/trees").glob("*.swc"))) == int(rows["both"]["neurons"])
    assert (tmp_path / "results/both/overview.png").stat().st_size > 1000
    sheet = (tissue / "samples.tsv").read_text().splitlines()
    (tissue / "samples.tsv").write_text("\n".join(line for line in sheet if not line.startswith("small")))
    status, said = snakemake(tmp_path, config=config)
    assert status == 0, said
    assert planned(tmp_path, config=config) == {}
