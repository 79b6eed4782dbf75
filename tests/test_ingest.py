"""Does a volume hold exactly what the file held, and are files that cannot be used refused in one line?"""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal

from pipeline import intensity, volume
from pipeline.errors import InputError
from pipeline.stages import ingest

SIZE = "1.0,0.33,0.33"


@pytest.fixture
def stack() -> np.ndarray:
    return np.random.default_rng(0).poisson(20, (37, 60, 52)).astype(np.uint16)


def write(path: Path, values: np.ndarray, **options) -> Path:
    tifffile.imwrite(path, values, **{"metadata": None, "photometric": "minisblack", **options})
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f4"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_the_voxels_and_their_type_stay_as_they_are(tmp_path, stack, dtype, compression):
    image = write(tmp_path / "a.tif", stack.astype(dtype), compression=compression)
    ingest.run(image, tmp_path / "image.zarr", voxel_size=SIZE)
    found = volume.open_volume(tmp_path / "image.zarr")
    assert found.array.dtype == dtype
    assert found.voxel_size == (1.0, 0.33, 0.33)
    assert_array_equal(found.array[:], stack)


def test_later_stages_find_name_checksum_and_levels(tmp_path, stack):
    ingest.run(write(tmp_path / "a.tif", stack), tmp_path / "image.zarr", voxel_size=SIZE)
    attributes = volume.open_volume(tmp_path / "image.zarr").attributes
    assert attributes["source"] == "a.tif"
    assert attributes["sha256"] == hashlib.sha256(stack.astype("<u2").tobytes()).hexdigest()
    assert 18.5 < attributes["background"] < 20.5
    assert 3.5 < attributes["noise"] < 5.5
    assert attributes["data"] == 1
    level = volume.read_levels(tmp_path / "image.zarr")
    assert level.summary == {name: attributes[name] for name in volume.SUMMARY if name != "hole"}
    assert level.low.shape == level.high.shape == level.noise.shape == (37, 4, 4)


def test_same_image_same_bytes_whatever_its_compression_and_byte_order(tmp_path, stack):
    for name, options in (("a", {}), ("b", {}), ("c", {"compression": "zlib", "byteorder": ">"})):
        (tmp_path / name).mkdir()
        image = write(tmp_path / name / "image.tif", stack, **options)
        ingest.run(image, tmp_path / name / "image.zarr", voxel_size=SIZE)
    first, *others = (contents(tmp_path / name / "image.zarr") for name in "abc")
    assert all(first == other for other in others)


def test_lost_planes_take_their_neighbours_voxels_and_are_told(tmp_path, stack, capsys, monkeypatch):
    for slab in (1, 37):  # also where a lost plane and its neighbour lie in different slabs
        monkeypatch.setattr(volume, "SLAB_BYTES", slab * stack[0].nbytes)
        lost = stack.copy()
        lost[[5, 11, 12, 20, 21, 22, 35, 36]] = 0
        ingest.run(write(tmp_path / "a.tif", lost), tmp_path / "image.zarr", voxel_size=SIZE)
        found = volume.open_volume(tmp_path / "image.zarr")
        whole = lost.copy()
        whole[5] = np.rint((lost[4].astype(float) + lost[6]) / 2)
        whole[11], whole[12] = lost[10], lost[13]
        # Three in a row, and those at the end, are empty rather than lost.
        assert_array_equal(found.array[:], whole)
        said = "lost planes (3: 5, 11, 12): their neighbours stand for them"
        assert said in found.attributes["warnings"] and f"warning: {said}" in capsys.readouterr().out
        assert found.attributes["sha256"] == hashlib.sha256(lost.astype("<u2").tobytes()).hexdigest()
        level = volume.read_levels(tmp_path / "image.zarr")
        assert_array_equal(level.low[11], level.low[10])


def test_a_plane_between_two_of_other_backgrounds_has_one_of_its_own(tmp_path):
    rng = np.random.default_rng(3)
    image = rng.normal(100, 5, (24, 64, 64))
    image[12:] += 40
    image[:, 30:33, 5:60] += 200
    image[11] = 0
    ingest.run(
        write(tmp_path / "a.tif", image.round().astype(np.uint16)), tmp_path / "a.zarr", voxel_size=SIZE
    )
    found, level = volume.open_volume(tmp_path / "a.zarr").array[:], volume.read_levels(tmp_path / "a.zarr")
    assert found[11, 50:].mean() == pytest.approx(120, abs=1)
    light = intensity.light(found, level)
    assert light[11, 50:].mean() < 1 and light[11, 31, 10:50].mean() > 20


def test_a_lost_section_of_electron_microscopy_repeats_the_one_before(tmp_path, stack):
    lost = stack.copy()
    lost[5] = 0
    ingest.run(write(tmp_path / "a.tif", lost), tmp_path / "image.zarr", voxel_size=SIZE, modality="em")
    assert_array_equal(volume.open_volume(tmp_path / "image.zarr").array[5], lost[4])


def test_empty_planes_of_a_cleaned_volume_are_not_lost(tmp_path, stack):
    cleaned = np.zeros_like(stack)
    cleaned[:9, 20:40, 20:40] = cleaned[12:20, 20:40, 20:40] = 50
    cleaned[[9, 12, 21], 3, 3] = 9  # specks, and nothing between them
    ingest.run(write(tmp_path / "a.tif", cleaned), tmp_path / "image.zarr", voxel_size=SIZE)
    assert_array_equal(volume.open_volume(tmp_path / "image.zarr").array[:], cleaned)


@pytest.fixture
def salted(stack) -> tuple[np.ndarray, np.ndarray]:
    """A neurite in noise with salt in every 250th voxel, and where that is."""
    stack[:, 28:31] += 150
    salt = np.random.default_rng(1).random(stack.shape) < 0.004
    salt[:, 25:34] = False
    return np.where(salt, 900, stack).astype(np.uint16), salt


def test_salt_takes_the_voxels_around_it_and_is_told(tmp_path, stack, salted, monkeypatch):
    image, salt = salted
    write(tmp_path / "a.tif", image)
    for slab in (3, 37):  # also where salt and its neighbour lie in different slabs
        monkeypatch.setattr(volume, "SLAB_BYTES", slab * stack[0].nbytes)
        ingest.run(tmp_path / "a.tif", tmp_path / f"{slab}.zarr", voxel_size=SIZE)
    thin, thick = (volume.open_volume(tmp_path / f"{slab}.zarr") for slab in (3, 37))
    found = thin.array[:]
    assert_array_equal(found, thick.array[:])
    assert thin.attributes == thick.attributes
    assert_array_equal(found[~salt], image[~salt])
    assert found[salt].max() < 40 and abs(found[salt].mean() - 20) < 2
    assert thin.attributes["hits"] == salt.sum()
    said = f"hits: {salt.sum()} bright voxels without bright neighbours were taken out"
    assert said in thin.attributes["warnings"]
    assert thin.attributes["brightest"] < 230
    assert thin.attributes["sha256"] == hashlib.sha256(image.astype("<u2").tobytes()).hexdigest()
    level = volume.read_levels(tmp_path / "3.zarr")
    assert_array_equal(level.noise, intensity.measure(found).noise)


def test_few_hits_stay_and_so_does_what_is_no_light(tmp_path, stack, salted):
    image, salt = salted
    few = np.where(salt, stack, image)
    few[3, 3, 3:20:8] = 900
    ingest.run(write(tmp_path / "few.tif", few), tmp_path / "few.zarr", voxel_size=SIZE)
    assert_array_equal(volume.open_volume(tmp_path / "few.zarr").array[:], few)
    ingest.run(write(tmp_path / "em.tif", image), tmp_path / "em.zarr", voxel_size=SIZE, modality="em")
    assert_array_equal(volume.open_volume(tmp_path / "em.zarr").array[:], image)


def test_salt_beside_padding_goes_too_and_of_every_brightness(tmp_path, stack, salted):
    image, salt = salted
    where = np.flatnonzero(salt)
    image.flat[where] = 200 + 300 ** np.random.default_rng(2).uniform(0.5, 1.9, len(where))
    sparse = np.where(salt & (np.random.default_rng(3).random(salt.shape) < 0.95), stack, image)
    padded = np.pad(sparse, ((0, 0), (0, 120), (0, 0)))
    for name, voxels in (("a", image), ("b", padded)):
        ingest.run(write(tmp_path / f"{name}.tif", voxels), tmp_path / f"{name}.zarr", voxel_size=SIZE)
        found = volume.open_volume(tmp_path / f"{name}.zarr")
        # One among others stays, and one that is dim when the others are out and few.
        assert np.count_nonzero(found.array[:] > 300) <= 1 + 0.01 * np.count_nonzero(voxels > 300)
        assert found.attributes["brightest"] < 230
    assert_array_equal(found.array[:, 60:], 0)


def test_single_voxels_of_a_cleaned_image_stay(tmp_path, stack):
    cleaned = np.zeros_like(stack)
    cleaned[:, 20:23] = 60 + stack[:, 20:23]
    cleaned[::6, ::20, ::20] = 150
    ingest.run(write(tmp_path / "a.tif", cleaned), tmp_path / "image.zarr", voxel_size=SIZE)
    assert_array_equal(volume.open_volume(tmp_path / "image.zarr").array[:], cleaned)


def test_lost_planes_do_not_darken_the_white(tmp_path, stack):
    stack[:, 28:31, ::4] += 500
    lost = stack.copy()
    lost[2:36:3] = 0
    for name, voxels in (("whole", stack), ("lost", lost)):
        ingest.run(write(tmp_path / f"{name}.tif", voxels), tmp_path / f"{name}.zarr", voxel_size=SIZE)
    whole, mended = (volume.open_volume(tmp_path / f"{name}.zarr").attributes for name in ("whole", "lost"))
    assert mended["brightest"] == pytest.approx(whole["brightest"], abs=5)


def test_an_ingested_volume_can_be_ingested_again(tmp_path, stack):
    ingest.run(write(tmp_path / "a.tif", stack), tmp_path / "a.zarr", voxel_size=SIZE)
    ingest.run(tmp_path / "a.zarr", tmp_path / "b.zarr")
    again, first = (volume.open_volume(tmp_path / name) for name in ("b.zarr", "a.zarr"))
    assert again.voxel_size == first.voxel_size
    assert again.attributes["sha256"] == first.attributes["sha256"]


def test_the_levels_do_not_depend_on_the_slabs(tmp_path, stack, monkeypatch):
    image = write(tmp_path / "a.tif", stack)
    ingest.run(image, tmp_path / "a.zarr", voxel_size=SIZE)
    monkeypatch.setattr(volume, "SLAB_BYTES", 3 * stack[0].nbytes)
    ingest.run(image, tmp_path / "b.zarr", voxel_size=SIZE)
    thick, thin = (volume.open_volume(tmp_path / name) for name in ("a.zarr", "b.zarr"))
    assert thick.array.chunks[0] > thin.array.chunks[0]
    assert thick.attributes == thin.attributes
    levels = (volume.read_levels(tmp_path / name) for name in ("a.zarr", "b.zarr"))
    assert all(map(np.array_equal, *((level.low, level.high, level.noise) for level in levels)))


@pytest.mark.slow
def test_memory_hardly_grows_with_the_volume(tmp_path, peak_memory):
    plane = np.random.default_rng(0).poisson(20, (256, 512)).astype(np.uint8)
    peaks = {}
    for depth in (128, 1024):  # 17 MB and 134 MB
        image = write(tmp_path / f"{depth}.tif", np.broadcast_to(plane, (depth, 256, 512)))
        peaks[depth] = peak_memory("ingest", image, tmp_path / f"{depth}.zarr", "--voxel-size", SIZE)
    # What is kept are five numbers for each 256 voxels.
    assert peaks[1024] - peaks[128] < 0.4 * (1024 - 128) * plane.nbytes


# --- voxel size: the sheet's, else the file's, else the config's -----------------------------------


def test_the_voxel_size_given_wins_over_the_file_and_the_file_over_the_fallback(tmp_path, stack):
    metadata = {"axes": "ZYX", "spacing": 2.0, "unit": "um"}
    image = write(tmp_path / "a.tif", stack, imagej=True, resolution=(2, 2), metadata=metadata)
    for options, size in (
        ({"voxel_size": "3,1,1", "fallback_voxel_size": "9,9,9"}, (3, 1, 1)),
        ({"fallback_voxel_size": "9,9,9"}, (2, 0.5, 0.5)),
        ({}, (2, 0.5, 0.5)),
    ):
        ingest.run(image, tmp_path / "image.zarr", **options)
        assert volume.open_volume(tmp_path / "image.zarr").voxel_size == size
    ingest.run(write(tmp_path / "b.tif", stack), tmp_path / "image.zarr", fallback_voxel_size="9,9,9")
    assert volume.open_volume(tmp_path / "image.zarr").voxel_size == (9, 9, 9)


@pytest.mark.parametrize(
    "text", ["0,1,1", "1,-0.33,0.33", "1,1", "1,1,1,1", "a,b,c", "nan,1,1", "inf,1,1", ","]
)
def test_three_positive_numbers_are_a_voxel_size(tmp_path, stack, text):
    image = write(tmp_path / "a.tif", stack)
    for option in ("voxel_size", "fallback_voxel_size"):
        with pytest.raises(InputError, match=r"a\.tif.*voxel size.*allowed: three positive"):
            ingest.run(image, tmp_path / "image.zarr", **{option: text})


@pytest.mark.parametrize("spacing", [0.0, -1.0])
def test_a_voxel_size_of_the_file_that_is_not_positive_is_refused_unless_one_is_given(
    tmp_path, stack, spacing
):
    metadata = {"axes": "ZYX", "spacing": spacing, "unit": "um"}
    image = write(tmp_path / "a.tif", stack, imagej=True, resolution=(2, 2), metadata=metadata)
    with pytest.raises(
        InputError, match="voxel size in its metadata that can be used: its metadata says (0|-1)"
    ):
        ingest.run(image, tmp_path / "image.zarr", fallback_voxel_size="1,1,1")
    ingest.run(image, tmp_path / "image.zarr", voxel_size="1,1,1")


def test_no_voxel_size_anywhere_names_the_file_and_the_ways_to_give_one(tmp_path, stack):
    image = write(tmp_path / "a.tif", stack)
    with pytest.raises(InputError, match=r"a\.tif: no voxel size.*samples\.tsv.*config"):
        ingest.run(image, tmp_path / "image.zarr")


# --- content that cannot be used -------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, 7])
def test_a_constant_volume_is_refused(tmp_path, value):
    image = write(tmp_path / "a.tif", np.full((5, 20, 30), value, np.uint8))
    with pytest.raises(InputError, match=rf"a\.tif: all 5 x 20 x 30 voxels are {value}"):
        ingest.run(image, tmp_path / "image.zarr", voxel_size=SIZE)
    assert sorted(tmp_path.iterdir()) == [image]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused_with_their_place(tmp_path, stack, value):
    values = stack.astype(np.float32)
    values[20, 3, 4] = value
    with pytest.raises(InputError, match=r"a\.tif: 1 voxels of planes 16 to 31"):
        ingest.run(write(tmp_path / "a.tif", values), tmp_path / "image.zarr", voxel_size=SIZE)


def test_a_file_that_breaks_off_leaves_no_volume(tmp_path, stack):
    image = write(tmp_path / "a.tif", stack, compression="zlib")
    image.write_bytes(image.read_bytes()[:-3000])
    with pytest.raises(InputError, match=r"a\.tif"):
        ingest.run(image, tmp_path / "image.zarr", voxel_size=SIZE)
    assert sorted(tmp_path.iterdir()) == [image]


def test_one_bright_voxel_in_an_empty_volume_is_contrast(tmp_path):
    values = np.zeros((5, 20, 30), np.uint8)
    values[2, 3, 5] = 9
    ingest.run(write(tmp_path / "a.tif", values), tmp_path / "image.zarr", voxel_size=SIZE)
    attributes = volume.open_volume(tmp_path / "image.zarr").attributes
    assert attributes["background"] == 0
    assert attributes["noise"] > 0


def test_a_real_stack(tmp_path, shared):
    ingest.run(shared / "data/diadem_op/OP_7.tif", tmp_path / "image.zarr")
    found = volume.open_volume(tmp_path / "image.zarr")
    assert found.array.shape == (71, 512, 512)
    assert found.voxel_size == pytest.approx((1.0, 0.33, 0.33))
    assert_array_equal(found.array[:], tifffile.imread(shared / "data/diadem_op/OP_7.tif"))


# --- what is said of the way a file was read ---------------------------------------------------------


def warnings(folder: Path) -> list[str]:
    told = volume.open_volume(folder).attributes["warnings"]
    return [line for line in told if "hardly any signal" not in line]  # noise is all there is


def test_a_voxel_size_given_that_is_not_the_files_is_told(tmp_path, stack):
    metadata = {"axes": "ZYX", "spacing": 1.0, "unit": "um"}
    image = write(tmp_path / "a.tif", stack, imagej=True, resolution=(1 / 0.33, 1 / 0.33), metadata=metadata)
    for given, said in (
        ("0.33,0.33,1", ["the file says 1,0.33,0.33 (z,y,x): were x,y,z given?"]),
        ("2,0.33,0.33", ["the file says 1,0.33,0.33 (z,y,x)"]),
        ("1,0.33,0.331", []),
        ("", []),
    ):
        ingest.run(image, tmp_path / "image.zarr", voxel_size=given)
        assert len(warnings(tmp_path / "image.zarr")) == len(said)
        assert all(end in line for line, end in zip(warnings(tmp_path / "image.zarr"), said, strict=True))


def test_the_fallback_gives_what_the_file_leaves_out_and_no_more(tmp_path, stack):
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="52" SizeY="60" SizeZ="37" SizeC="1" '
        'SizeT="1" PhysicalSizeX="0.25" PhysicalSizeY="0.5"{}><TiffData/></Pixels></Image></OME>'
    )
    image = write(tmp_path / "a.ome.tif", stack, description=xml.format(""))
    ingest.run(image, tmp_path / "image.zarr", fallback_voxel_size="3,9,9")
    assert volume.open_volume(tmp_path / "image.zarr").voxel_size == (3, 0.5, 0.25)
    assert "z = 3 um is taken from the config" in warnings(tmp_path / "image.zarr")[0]
    with pytest.raises(InputError, match=r"nothing, 0\.5, 0\.25"):
        ingest.run(image, tmp_path / "image.zarr")
    # What is said and wrong is not what is left out.
    image = write(
        tmp_path / "b.ome.tif", stack, description=xml.format(' PhysicalSizeZ="2" PhysicalSizeZUnit="ell"')
    )
    with pytest.raises(InputError, match="'ell', no known unit"):
        ingest.run(image, tmp_path / "image.zarr", fallback_voxel_size="3,9,9")
    ingest.run(image, tmp_path / "image.zarr", voxel_size="3,9,9")


@pytest.mark.parametrize("unit", ["mm", "cm", "inch", "m"])
def test_a_voxel_size_no_microscope_has_is_a_question_before_the_work(tmp_path, stack, unit):
    metadata = {"axes": "ZYX", "spacing": 1.0, "unit": unit}
    image = write(tmp_path / "a.tif", stack, imagej=True, resolution=(3, 3), metadata=metadata)
    with pytest.raises(InputError, match="is the unit right"):
        ingest.run(image, tmp_path / "image.zarr")
    assert not (tmp_path / "image.zarr").exists()
    with pytest.raises(InputError, match="is the unit right"):
        ingest.run(image, tmp_path / "image.zarr", voxel_size="1000,330,330")
    ingest.run(image, tmp_path / "image.zarr", voxel_size=SIZE)
    assert "is given, the file says" in warnings(tmp_path / "image.zarr")[0]


def test_the_channel_asked_for_is_ingested_and_a_plane_is_told(tmp_path, stack):
    values = np.stack([stack[0], stack[1] + 500])
    image = write(tmp_path / "a.tif", values, metadata={"axes": "CYX"})
    with pytest.raises(InputError, match="2 channels"):
        ingest.run(image, tmp_path / "image.zarr", voxel_size=SIZE)
    for options in ({"channel": "1"}, {"fallback_channel": "1"}, {"channel": "1", "fallback_channel": "0"}):
        ingest.run(image, tmp_path / "image.zarr", voxel_size=SIZE, **options)
        assert_array_equal(volume.open_volume(tmp_path / "image.zarr").array[:], values[1:])
    assert warnings(tmp_path / "image.zarr")[0].startswith("one plane")


def test_voxels_of_em_above_a_micrometre_are_remarked_on(tmp_path, capsys):
    noise = np.random.default_rng(0).integers(0, 255, (3, 8, 8)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", noise, photometric="minisblack")
    for modality, size, odd in (
        ("em", "4,0.8,0.8", True),
        ("em", ".04,.008,.008", False),
        ("lm", "4,1,1", False),
    ):
        ingest.run(tmp_path / "a.tif", tmp_path / "a.zarr", voxel_size=size, modality=modality)
        assert ("warning: voxels of 4 x 0.8 x 0.8 um" in capsys.readouterr().out) == odd
    with pytest.raises(InputError, match="voxels of 40 x 8 x 8 um .*is the unit right"):
        ingest.run(tmp_path / "a.tif", tmp_path / "b.zarr", voxel_size="40,8,8", modality="em")
