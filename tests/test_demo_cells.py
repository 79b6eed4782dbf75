"""The example of dense tissue: made, found, known before it is made, and its truth segmented."""

import numpy as np
import pytest
import tifffile
from dense import evaluate

from pipeline import config, dataset, images, project, volume
from pipeline.images import labels
from pipeline.instances.affinities import as_bytes, prediction_of
from pipeline.simulation import demo
from pipeline.stages import agglomerate, simulate


@pytest.fixture
def small_blocks(monkeypatch):
    blocks = tuple(((depth, 64, 64), size) for depth, (_, size) in zip((24, 6), demo.BLOCKS))
    monkeypatch.setattr(demo, "BLOCKS", blocks)


def test_the_tissue_is_found_read_and_the_same_each_time(tmp_path, small_blocks):
    for folder in ("once", "again"):
        simulate.run(tmp_path / folder, modality="em", settings=config.Simulate(tissues=2, seed=3))
    once, again = (
        sorted(path for path in (tmp_path / folder).rglob("*") if path.is_file())
        for folder in ("once", "again")
    )
    assert [path.name for path in once] == [path.name for path in again]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(once, again, strict=True))
    samples = dataset.discover(tmp_path / "once")
    assert [(sample.name, sample.modality) for sample in samples] == [("tissue_1", "em"), ("tissue_2", "em")]
    for sample in samples:
        image, (truth, voxel_size) = images.open_image(sample.image), labels.read(sample.labels)
        assert image.shape == truth.shape
        assert truth.min() == 1 and truth.max() == len(np.unique(truth))
        assert voxel_size == pytest.approx(sample.voxel_size, rel=1e-6)
        assert sample.lines.is_dir()
        assert (image.array[:].reshape(len(truth), -1).max(1) == 0).sum() == 1  # the lost section


def test_the_demo_of_each_modality_is_known_before_it_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tissue = project.open_project({"modality": "em", "simulate": {"tissues": 3}})
    assert list(tissue.samples) == ["tissue_1", "tissue_2", "tissue_3"]
    assert tissue.reference_options("tissue_2").split() == [
        "--reference=results/demo_dataset/tissue_2_labels.tif",
        "--skeletons=results/demo_dataset/tissue_2_skeletons",
        "--unit=um",
    ]
    assert "--skeletons" not in tissue.reference_options("tissue_2", "reference")
    assert "--modality=em" in tissue.ingest_options("tissue_1")
    neurons = project.open_project({})
    assert neurons.reference_options("neuron_1").startswith(
        "--reference=results/demo_dataset/neuron_1.swc --unit=um"
    )
    assert "modality" not in neurons.ingest_options("neuron_1")


def test_perfect_affinities_of_the_example_give_its_cells(tmp_path, small_blocks):
    made, voxel_size = demo.demo_tissue(0, seed=0)
    perfect = prediction_of(made.labels)
    array = volume.create(
        tmp_path / "p.zarr",
        shape=made.labels.shape,
        dtype="u1",
        voxel_size=voxel_size,
        channels=tuple(perfect),
    )
    array[:] = np.stack([as_bytes(channel) for channel in perfect.values()])
    agglomerate.run(tmp_path / "p.zarr", tmp_path / "l.zarr")
    tifffile.imwrite(tmp_path / "t.tif", made.labels, photometric="minisblack")
    found = evaluate(tmp_path, "--prediction", tmp_path / "l.zarr", "--reference", tmp_path / "t.tif")
    assert found["vi_split"] + found["vi_merge"] < 0.05
