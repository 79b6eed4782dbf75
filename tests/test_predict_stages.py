"""tile, infer and stack on files: the volume that comes out, and what a killed run leaves."""

import numpy as np
import pytest

from pipeline import config, volume
from pipeline.errors import InputError
from pipeline.network import weights
from pipeline.stages import infer, ingest, stack, tile

TILE = config.Tile(window=16, depth=5, overlap=0.25, block_voxels=65_536)


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_network):
    """A folder with image.zarr (noise, a bright bar in it), plan.json and w.safetensors."""
    folder = tmp_path_factory.mktemp("made")
    voxels = np.random.default_rng(0).integers(90, 111, (40, 50, 70)).astype(np.uint8)
    voxels[18:22, 20:24] = 250
    import tifffile

    tifffile.imwrite(folder / "image.tif", voxels)
    ingest.run(folder / "image.tif", folder / "image.zarr", voxel_size="1,0.5,0.5")
    tile.run(folder / "image.zarr", folder / "plan.json", settings=TILE)
    weights.save(folder / "w.safetensors", tiny_network, card={})
    return folder


def predicted(made, output, *, plan="plan.json"):
    infer.run(made / "image.zarr", made / plan, made / "w.safetensors", output)
    stack.run(made / "image.zarr", made / plan, output, output.with_suffix(".zarr"))
    return volume.open_volume(output.with_suffix(".zarr"))


def test_the_probability_has_the_shape_and_voxel_size_of_the_image(made, tmp_path):
    result = predicted(made, tmp_path / "blocks")
    assert result.array.shape == (40, 50, 70)
    assert result.array.dtype == np.uint8
    assert result.voxel_size == (1, 0.5, 0.5)
    assert not result.array[:14].any(), "windows that do not see the bar are empty"
    assert result.array[20].any()


def test_the_volume_does_not_depend_on_how_it_was_cut(made, tmp_path):
    whole = TILE.model_copy(update={"block_voxels": 10_000_000})
    narrow = TILE.model_copy(update={"block_edge": 128})
    expected = predicted(made, tmp_path / "cut").array[:]
    for name, settings in (("whole", whole), ("narrow", narrow)):
        tile.run(made / "image.zarr", made / f"{name}.json", settings=settings)
        result = predicted(made, tmp_path / name, plan=f"{name}.json").array[:]
        np.testing.assert_array_equal(result, expected)


def test_a_killed_inference_goes_on_behind_its_last_block(made, tmp_path, monkeypatch):
    expected = predicted(made, tmp_path / "expected").array[:]
    calls, original = [], infer._predict

    def killed_at_the_second(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(infer, "_predict", killed_at_the_second)
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


def test_weights_for_other_windows_are_refused(made, tmp_path):
    tile.run(made / "image.zarr", tmp_path / "plan.json", settings=TILE.model_copy(update={"window": 32}))
    with pytest.raises(InputError, match="tile.window 16"):
        infer.run(made / "image.zarr", tmp_path / "plan.json", made / "w.safetensors", tmp_path / "blocks")
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
