"""agglomerate: where the labels lie, and when the network is not to be trusted."""

import json

import numpy as np
import pytest
import tifffile

from pipeline import config, volume
from pipeline.__main__ import main
from pipeline.stages import agglomerate


@pytest.mark.parametrize(("membrane", "doubted"), [(20, False), (110, True)])
def test_membranes_in_doubt_are_among_the_warnings(tmp_path, capsys, membrane, doubted):
    """A third of the volume is padding: what the network says there does not count."""
    labels = np.zeros((6, 40, 60), np.uint8)
    labels[:, :19, :40], labels[:, 19:, :40] = 1, 2
    affinity = np.full(labels.shape, 250, np.uint8)
    affinity[:, 18:20] = membrane
    affinity[:, :, 40:] = 130 if not doubted else 250
    image = np.where(labels > 0, np.random.default_rng(0).integers(90, 200, labels.shape), 0).astype(np.uint8)
    names = ("affinity_z", "affinity_y", "affinity_x", "foreground")
    for name, channels in (("p.zarr", names), ("i.zarr", ())):
        shape = {"shape": labels.shape, "dtype": "u1", "voxel_size": (0.01, 0.01, 0.01), "channels": channels}
        volume.create(tmp_path / name, **shape, attributes={"warnings": ["odd"]})[:] = (
            np.stack([affinity] * 4) if channels else image
        )
    agglomerate.run(tmp_path / "p.zarr", tmp_path / "l.zarr", image=tmp_path / "i.zarr")
    assert ("most membranes are doubtful" in capsys.readouterr().out) == doubted
    tifffile.imwrite(tmp_path / "t.tif", labels, photometric="minisblack")
    options = (
        "--prediction",
        tmp_path / "l.zarr",
        "--reference",
        tmp_path / "t.tif",
        "--image",
        tmp_path / "l.zarr",
    )
    assert main(["evaluate", *map(str, options), "--output", str(tmp_path / "m.json")]) == 0
    told = json.loads((tmp_path / "m.json").read_text())["warnings"].split("; ")
    assert told[0] == "odd" and len(told) == 1 + doubted


@pytest.mark.parametrize("blocks_of", [10**9, 1000])
@pytest.mark.parametrize("binning", [(1, 2, 2), (2, 3, 2)])
def test_cells_of_binned_voxels_lie_on_those_of_the_image(tmp_path, binning, blocks_of):
    """Two cells side by side, the second half of the image padding; in one piece and by blocks."""
    size = (8, 60, 92)
    depth, height, width = (-(-length // step) for length, step in zip(size, binning))
    image = np.random.default_rng(7).integers(60, 200, size).astype(np.uint8)
    image[:, :, 60:] = 0
    answers = np.full((4, depth, height, width), 250, np.uint8)
    border = height // 2
    answers[:3, :, border - 1 : border + 1] = 10
    coarse_um = tuple(0.004 * step for step in binning)
    names = ("affinity_z", "affinity_y", "affinity_x", "foreground")
    about = {"network": {"binning": list(binning)}}
    volume.create(
        tmp_path / "p.zarr",
        shape=answers.shape[1:],
        dtype="u1",
        voxel_size=coarse_um,
        channels=names,
        attributes=about,
    )[:] = answers
    volume.create(tmp_path / "i.zarr", shape=size, dtype="u1", voxel_size=(0.004,) * 3)[:] = image
    few = {"whole_voxels": blocks_of, "block_voxels": 8_000}  # fewer than are allowed
    settings = config.Agglomerate().model_copy(update=few)
    agglomerate.run(tmp_path / "p.zarr", tmp_path / "l.zarr", image=tmp_path / "i.zarr", settings=settings)
    made = volume.open_volume(tmp_path / "l.zarr")
    labels = made.array[:]
    assert made.shape == size and made.voxel_size == (0.004,) * 3
    assert not labels[:, :, 60 + max(binning) :].any() and labels[:, :, :58].all()
    first = border * binning[1]  # row of the image at which the second cell begins
    assert len(np.unique(labels[:, : first - binning[1], :58])) == 1
    assert len(np.unique(labels[:, first + binning[1] :, :58])) == 1
    assert labels[0, 0, 0] != labels[0, -1, 0]
    assert not list(tmp_path.glob(".*")), "nothing is left over"
