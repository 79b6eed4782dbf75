"""Shared makers: where the reference data lie, small trees and volumes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data and oracles; tests that need it are skipped where it is absent."""
    path = Path(os.environ.get("STACK2SWC_SHARED", ROOT.parent / "shared"))
    if not path.is_dir():
        pytest.skip(f"reference data not found at {path} (set STACK2SWC_SHARED)")
    return path


@pytest.fixture(scope="session")
def peak_memory():
    """peak_memory("ingest", image, output, ...) runs a stage in a process of its own: its peak memory in bytes."""

    # A child begins with the peak of its parent's memory, so a small process starts the stage.
    launcher = (
        "import resource, subprocess, sys; "
        "status = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL); "
        "print(status, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )

    def measure(*arguments) -> int:
        command = [sys.executable, "-c", launcher, sys.executable, "-m", "pipeline", *map(str, arguments)]
        answer = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        status, peak = map(int, answer.stdout.split())
        assert status == 0, answer.stderr
        return peak * (1 if sys.platform == "darwin" else 1024)

    return measure


@pytest.fixture
def one_thread():
    """One thread for torch: threads that share small tensors only wait for each other, minutes on a busy machine."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny_module():
    """A slice segmenter of random weights for windows of 5 slices of 16 x 16 pixels, in evaluation mode."""
    import torch

    from pipeline.network.slices import Architecture, SliceSegmenter

    torch.manual_seed(0)
    return SliceSegmenter(Architecture(depth=5, tile=16, width=24, blocks=4, heads=3)).eval()


@pytest.fixture(scope="session")
def tiny_weights(tiny_module, tmp_path_factory) -> Path:
    """The weights file of tiny_module."""
    return save_slices(tmp_path_factory.mktemp("weights") / "tiny.safetensors", tiny_module)


@pytest.fixture(scope="session")
def tiny_network(tiny_weights):
    """tiny_module as the stages see it."""
    from pipeline.network import model

    return model.load(tiny_weights)


def save_slices(path: Path, module) -> Path:
    """Weights of a slice segmenter of light microscopy with its contract, and where they are."""
    from pipeline.network import weights

    weights.save(path, module, levels="share 1", voxel_um=((0.2,) * 3, (3.2, 0.8, 0.8)), card={})
    return path


def tree_of(rows):
    """A tree from rows (x, y, z, row of the parent or below 0), radius 1."""
    import numpy as np

    from pipeline.swc import Tree

    table = np.array(rows, float).reshape(-1, 4)
    parent = np.maximum(table[:, 3].astype(np.int64), -1)
    return Tree(table[:, :3], np.ones(len(table)), parent, np.full(len(table), 3))


def line(first, last, *, pieces=1):
    """A straight tree from `first` to `last` (x, y, z) of `pieces` equal edges."""
    import numpy as np

    along = np.linspace(0, 1, pieces + 1)[:, None]
    points = np.asarray(first, float) + along * (np.asarray(last, float) - np.asarray(first, float))
    return tree_of(np.column_stack([points, np.arange(pieces + 1) - 1]))


@pytest.fixture
def folder(tmp_path) -> Path:
    """A dataset of empty files: a.tif, a.swc, sub/b.tif."""
    (tmp_path / "sub").mkdir()
    for name in ("a.tif", "a.swc", "sub/b.tif"):
        (tmp_path / name).touch()
    return tmp_path
