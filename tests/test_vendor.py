"""Files of the makers of microscopes: through bioio where it is installed, else one line that says what to install."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from pipeline import images
from pipeline.errors import InputError

FIVE = np.arange(2 * 3 * 4 * 5 * 6, dtype=np.uint16).reshape(2, 3, 4, 5, 6)  # t c z y x


class Lazy:
    """As much of a dask array as is asked of it."""

    def __init__(self, values):
        self.values, self.dtype = values, values.dtype

    def __getitem__(self, key):
        return Lazy(self.values[key])

    def compute(self):
        return self.values


@pytest.fixture
def bioio(monkeypatch):
    """bioio is an extra that tests do without: what of it is called, with its names (bioio 3)."""

    class BioImage:
        scenes = ("Image:0",)
        dims = SimpleNamespace(**dict(zip("TCZYX", FIVE.shape, strict=True)))
        channel_names = ("DAPI", "GFP", "TRITC")
        physical_pixel_sizes = SimpleNamespace(Z=2.5, Y=0.5, X=0.25)

        def __init__(self, path):
            assert Path(path).exists()

        def get_image_dask_data(self, order, *, C, T):
            assert order == "ZYX"
            return Lazy(FIVE[T, C])

    module = ModuleType("bioio")
    module.BioImage = BioImage
    monkeypatch.setitem(sys.modules, "bioio", module)
    return BioImage


@pytest.mark.parametrize("suffix", ["czi", "nd2", "lif", "CZI"])
def test_without_bioio_one_line_says_what_to_install(tmp_path, monkeypatch, suffix):
    monkeypatch.setitem(sys.modules, "bioio", None)
    path = tmp_path / f"a.{suffix}"
    path.touch()
    with pytest.raises(
        InputError, match=rf"no reader of it; allowed: .*--extra bioio.*bioio-{suffix.lower()}"
    ) as error:
        images.open_image(path)
    assert "\n" not in str(error.value)
    assert images.count_voxels(path) == 0


def test_with_it_a_channel_is_read(tmp_path, bioio):
    path = tmp_path / "a.czi"
    path.touch()
    source = images.open_image(path, channel="GFP", time=1)
    assert_array_equal(source.array[1:3], FIVE[1, 1, 1:3])
    assert source.voxel_size == (2.5, 0.5, 0.25)
    assert images.count_voxels(path) == 4 * 5 * 6
    with pytest.raises(InputError, match=r"3 channels.*0 \(DAPI\), 1 \(GFP\), 2 \(TRITC\)"):
        images.open_image(path)
    bioio.scenes = ("Image:0", "Image:1")
    with pytest.raises(InputError, match=r"2 images \(Image:0, Image:1\)"):
        images.open_image(path)


def test_a_reader_that_lacks_is_named(tmp_path, bioio, monkeypatch):
    class UnsupportedFileFormatError(Exception):
        pass

    def fail(self, path):
        raise UnsupportedFileFormatError

    monkeypatch.setattr(bioio, "__init__", fail)
    (tmp_path / "a.nd2").touch()
    with pytest.raises(InputError, match=r"no installed reader of bioio opens.*bioio-nd2"):
        images.open_image(tmp_path / "a.nd2")
