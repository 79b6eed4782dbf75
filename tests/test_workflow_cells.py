"""A dense volume of electron microscopy through all of the workflow."""

from pathlib import Path

import numpy as np
import pytest
from snakemake_runs import planned, read_table, snakemake

from conftest import line
from pipeline import swc


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
        "both": "warning",
        "small": "failed",
        "alone": "warning",
    }
    for name in ("both", "alone"):  # these weights are sure of nothing
        assert (
            rows[name]["warnings"]
            == "most membranes are doubtful: unlike what the network was trained on, or not dark"
        )
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
