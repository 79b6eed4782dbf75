"""Is an image, written for another program, the same image?"""

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_allclose, assert_array_equal

from pipeline import images
from pipeline.__main__ import main
from pipeline.commands import convert
from pipeline.errors import InputError

STACK = np.random.default_rng(0).integers(0, 250, (5, 20, 26)).astype(np.uint16)


@pytest.mark.parametrize("name", ["b.v3draw", "b.v3dpbd", "b.tif", "b.ome.tif", "b.OME.TIFF"])
def test_the_voxels_and_their_size_stay(tmp_path, name):
    metadata = {"axes": "ZYX", "spacing": 2.5, "unit": "um"}
    tifffile.imwrite(tmp_path / "a.tif", STACK, imagej=True, resolution=(4, 2), metadata=metadata)
    convert.run(tmp_path / "a.tif", tmp_path / name)
    source = images.open_image(tmp_path / name)
    assert_array_equal(source.array[:], STACK)
    assert source.dtype == STACK.dtype
    if name.endswith(("v3draw", "v3dpbd")):
        assert source.voxel_size is None
    else:
        assert_allclose(source.voxel_size, (2.5, 0.5, 0.25), rtol=1e-6)


def test_a_channel_of_several_and_a_size_that_is_given(tmp_path):
    values = np.stack([STACK, STACK + 1], axis=1)
    tifffile.imwrite(tmp_path / "a.tif", values, imagej=True, metadata={"axes": "ZCYX"})
    arguments = [
        "convert",
        str(tmp_path / "a.tif"),
        str(tmp_path / "b.ome.tif"),
        "--channel=1",
        "--voxel-size=3,2,1",
    ]
    assert main(arguments) == 0
    source = images.open_image(tmp_path / "b.ome.tif")
    assert_array_equal(source.array[:], STACK + 1)
    assert source.voxel_size == (3, 2, 1)


def test_what_cannot_be_written_is_told(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK.astype(np.int32), metadata=None)
    for name, found in (("b.v3draw", "int32 voxels"), ("b.tif", "int32 voxels"), ("b.png", "suffix '.png'")):
        with pytest.raises(InputError, match=found):
            convert.run(tmp_path / "a.tif", tmp_path / name)
        assert not (tmp_path / name).exists()
