"""tile, infer and stack on files: the volume that comes out, and what a killed run leaves."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest

from conftest import ROOT, line, save_slices
from pipeline import blocks, config, swc, volume
from pipeline.errors import InputError
from pipeline.network.slices import Architecture, SliceSegmenter
from pipeline.stages import evaluate, infer, ingest, stack, tile

TILE = config.Tile(overlap=0.25, block_voxels=65_536)


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_module):
    """A folder with image.zarr (noise, a bright bar in it), plan.json and w.safetensors."""
    folder = tmp_path_factory.mktemp("made")
    voxels = np.random.default_rng(0).integers(90, 111, (40, 50, 70)).astype(np.uint8)
    voxels[18:22, 20:24] = 250
    import tifffile

    tifffile.imwrite(folder / "image.tif", voxels)
    ingest.run(folder / "image.tif", folder / "image.zarr", voxel_size="1,0.5,0.5")
    save_slices(folder / "w.safetensors", tiny_module)
    tile.run(folder / "image.zarr", folder / "w.safetensors", folder / "plan.json", settings=TILE)
    return folder


def predicted(made, output, *, plan="plan.json", **options):
    infer.run(made / "image.zarr", made / plan, made / "w.safetensors", output, **options)
    stack.run(made / "image.zarr", made / plan, output, output.with_suffix(".zarr"))
    return volume.open_volume(output.with_suffix(".zarr"))


def test_the_probability_has_the_shape_and_voxel_size_of_the_image(made, tmp_path):
    result = predicted(made, tmp_path / "blocks")
    assert result.shape == (40, 50, 70)
    assert result.channels == ("neurite",)
    assert result.array.dtype == np.uint8
    assert result.voxel_size == (1, 0.5, 0.5)
    assert not result.array[0, :14].any(), "windows that do not see the bar are empty"
    assert result.array[0, 20].any()


def test_a_prediction_says_what_made_it(made, tmp_path):
    told = predicted(made, tmp_path / "blocks").attributes["network"]
    assert told["weights_sha256"] == hashlib.sha256((made / "w.safetensors").read_bytes()).hexdigest()
    assert told["views"] == "2"
    assert (told["device"], told["arithmetic"]) in (("cpu", "fp32"), ("cpu", "bf16"), ("cuda", "bf16"))
    assert told["version"] and told["torch"]


def test_the_scores_of_a_tree_say_what_made_it(made, tmp_path):
    prediction = predicted(made, tmp_path / "blocks")
    swc.write(tmp_path / "tree.swc", line((5, 5, 5), (20, 5, 5), pieces=4), header={})
    evaluate.run(
        prediction=tmp_path / "tree.swc", image=tmp_path / "blocks.zarr", output=tmp_path / "metrics.json"
    )
    scores = json.loads((tmp_path / "metrics.json").read_text())
    told = prediction.attributes["network"]
    assert {name: scores[name] for name in evaluate.PROVENANCE} == {
        name: told[name] for name in evaluate.PROVENANCE
    }
    assert all(told[name] for name in evaluate.PROVENANCE)


def test_two_jobs_of_one_sample_at_once_leave_a_whole_folder(made, tmp_path, monkeypatch):
    expected = predicted(made, tmp_path / "expected").array[:]
    calls, original = [], infer._predict

    def overtaken(*arguments):
        calls.append(1)
        if len(calls) == 2:  # the other job begins, finds the first block, and ends before this one
            infer.run(made / "image.zarr", made / "plan.json", made / "w.safetensors", tmp_path / "twice")
        return original(*arguments)

    monkeypatch.setattr(infer, "_predict", overtaken)
    result = predicted(made, tmp_path / "twice").array[:]
    np.testing.assert_array_equal(result, expected)
    assert not list(tmp_path.glob(".twice*"))


def test_a_job_whose_folder_is_taken_while_it_writes_ends_well_too(made, tmp_path, monkeypatch):
    expected = predicted(made, tmp_path / "expected").array[:]
    original = infer.np.save

    def overtaken(file, array):
        monkeypatch.setattr(infer.np, "save", original)
        infer.run(made / "image.zarr", made / "plan.json", made / "w.safetensors", tmp_path / "twice")
        original(file, array)

    monkeypatch.setattr(infer.np, "save", overtaken)
    np.testing.assert_array_equal(predicted(made, tmp_path / "twice").array[:], expected)
    assert not list(tmp_path.glob(".twice*"))


def test_the_volume_does_not_depend_on_how_it_was_cut(made, tmp_path):
    whole = TILE.model_copy(update={"block_voxels": 10_000_000})
    narrow = TILE.model_copy(update={"block_edge": 128})
    expected = predicted(made, tmp_path / "cut").array[:]
    for name, settings in (("whole", whole), ("narrow", narrow)):
        tile.run(made / "image.zarr", made / "w.safetensors", made / f"{name}.json", settings=settings)
        result = predicted(made, tmp_path / name, plan=f"{name}.json").array[:]
        np.testing.assert_array_equal(result, expected)


def killed_at_the_second_block(monkeypatch) -> list:
    """Let the second block of this test be a kill; the list grows by one with each block that is begun."""
    calls, original = [], infer._predict

    def predict(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(infer, "_predict", predict)
    return calls


def test_a_killed_inference_goes_on_behind_its_last_block(made, tmp_path, monkeypatch):
    expected = predicted(made, tmp_path / "expected").array[:]
    calls = killed_at_the_second_block(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        predicted(made, tmp_path / "killed")
    assert not (tmp_path / "killed").exists()
    result = predicted(made, tmp_path / "killed").array[:]
    blocks = len(list((tmp_path / "killed").glob("*.npy")))
    assert len(calls) == blocks + 1, "the first block was not computed again"
    np.testing.assert_array_equal(result, expected)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "expected",
        "expected.zarr",
        "killed",
        "killed.zarr",
    ]


@pytest.mark.parametrize("changed", ["version of the code", "version of the stage", "torch", "arithmetic"])
def test_blocks_of_a_killed_run_are_not_mixed_with_those_of_another(made, tmp_path, monkeypatch, changed):
    import torch

    calls = killed_at_the_second_block(monkeypatch)
    settings = config.Infer(precision="fp32")
    with pytest.raises(KeyboardInterrupt):
        predicted(made, tmp_path / "blocks", settings=settings)
    if changed == "version of the code":
        monkeypatch.setattr(infer, "__version__", "99")
    elif changed == "version of the stage":
        monkeypatch.setitem(infer.VERSIONS, "infer", 99)
    elif changed == "torch":
        monkeypatch.setattr(torch, "__version__", "2.99.0")
    else:
        settings = config.Infer(precision="bf16")
    predicted(made, tmp_path / "blocks", settings=settings)
    assert len(calls) == 2 + len(list((tmp_path / "blocks").glob("*.npy"))), "every block was computed again"


def test_more_blocks_than_a_process_may_open_become_one_volume(made, tmp_path):
    shape = volume.open_volume(made / "image.zarr").shape
    grid = blocks.Grid(shape=shape, window=(1, 5, 5), core=(1, 5, 5), stride=(1, 5, 5))
    plan = blocks.make_plan(np.zeros(grid.counts, bool), grid, plane=5, voxels=250)
    voxels = np.random.default_rng(0).integers(0, 256, (1, *shape)).astype(np.uint8)
    (tmp_path / "blocks").mkdir()
    (tmp_path / "plan.json").write_text(blocks.plan_text(plan))
    (tmp_path / "blocks/made.json").write_text(json.dumps({"channels": ["neurite"]}))
    for index, block in enumerate(plan.blocks):
        box = tuple(slice(*ends) for ends in zip(block.start, block.stop))
        np.save(tmp_path / f"blocks/{index:06d}.npy", voxels[(slice(None), *box)])
    assert len(plan.blocks) >= 200
    code = (
        "import resource, sys; from pathlib import Path; from pipeline.stages import stack;"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100)); stack.run(*map(Path, sys.argv[1:]))"
    )
    paths = [made / "image.zarr", tmp_path / "plan.json", tmp_path / "blocks", tmp_path / "out.zarr"]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, paths)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(volume.open_volume(tmp_path / "out.zarr").array[:], voxels)


def test_weights_for_other_windows_are_refused(made, tmp_path):
    other = SliceSegmenter(Architecture(tile=32, width=24, blocks=4, heads=3))
    weights = save_slices(tmp_path / "other.safetensors", other)
    with pytest.raises(InputError, match="a plan that tile made with .*other.safetensors"):
        infer.run(made / "image.zarr", made / "plan.json", weights, tmp_path / "blocks")
    assert not (tmp_path / "blocks").exists()


def test_a_gpu_that_is_not_there_is_an_error_and_no_silent_cpu_run(made, tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(InputError, match="no GPU"):
        infer.run(
            made / "image.zarr",
            made / "plan.json",
            made / "w.safetensors",
            tmp_path / "blocks",
            device="cuda",
        )
