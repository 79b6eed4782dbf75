"""One tiny dataset through all of the workflow: broken, repaired, killed, in batches."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tifffile
from snakemake_runs import (
    PER_SAMPLE,
    VOXEL_SIZE,
    killed,
    planned,
    read_table,
    snakemake,
)

from conftest import line, save_slices
from pipeline import project, rasterise, swc


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
    running = killed(
        tmp_path,
        config=settings,
        by=signal.SIGINT,
        stderr=subprocess.DEVNULL,
        # What a shell starts in the background ignores it, and so would all that tests start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
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
    running = killed(tmp_path, config=settings, by=signal.SIGKILL)
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
