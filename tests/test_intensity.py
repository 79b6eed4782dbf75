"""Does the network see the same neurite at the same grey, whatever detector, stain and software did to the image?"""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from pipeline import intensity
from pipeline.intensity import CELL

SHAPE = (12, 256, 320)
SIGNAL = 40.0  # above a background of 60 +- 5


@pytest.fixture(scope="module")
def line() -> np.ndarray:
    """bool (z, y, x): an oblique neurite four pixels wide in the middle planes."""
    z, y, x = np.indices(SHAPE)
    return (abs(z - 6) < 2) & (abs(y - 0.5 * x - 40) < 2)


@pytest.fixture(scope="module")
def stack(line) -> np.ndarray:
    noise = np.random.default_rng(0).normal(60, 5, SHAPE)
    return np.rint(noise + SIGNAL * line).astype(np.uint8)


def seen(image: np.ndarray, where: np.ndarray) -> float:
    """Mean grey of some voxels, as the network sees them."""
    return float(intensity.grey(image, intensity.measure(image))[where].mean())


def padded(stack):
    return np.pad(stack, ((0, 0), (0, 0), (140, 0)))[:, :, : SHAPE[2] + 140]


def black_planes(stack):
    image = stack.copy()
    image[[0, 3, 10]] = 0
    return image


def vignetted(stack):
    y, x = np.mgrid[-1 : 1 : SHAPE[1] * 1j, -1 : 1 : SHAPE[2] * 1j]
    return np.rint(stack * (1 - 0.25 * (y**2 + x**2))).astype(np.uint8)


def stepped(stack):
    image = stack.astype(np.int32)
    image[:, 150:] += 60
    return image.astype(np.uint8)


def flickering(stack):
    return (stack + 10 * (np.arange(SHAPE[0]) % 3)[:, None, None]).astype(np.uint8)


CHANGES = {
    "padding": padded,
    "black planes": black_planes,
    "offset": lambda stack: stack.astype(np.uint16) + 100,
    "gain of a half": lambda stack: np.rint(stack * 0.5).astype(np.uint8),
    "gain of four in 16 bit": lambda stack: stack.astype(np.uint16) * 4,
    "16 bit": lambda stack: stack.astype(np.uint16) * 257,
    "floating point": lambda stack: stack.astype(np.float32) / 255,
    "vignetting": vignetted,
    "a step between tiles": stepped,
    "flickering planes": flickering,
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_grey_of_a_neurite_hardly_moves(stack, line, name):
    image = CHANGES[name](stack)
    where = np.pad(line, ((0, 0), (0, 0), (140, 0))) if name == "padding" else line.copy()
    if name == "black planes":
        where[[0, 3, 10]] = False
    if name == "a step between tiles":  # of the cell it runs through the background may be either
        where[:, 150 // CELL * CELL : 150 // CELL * CELL + CELL] = False
    # Where half of the light and of the noise is lost in the corners, the unit of the whole image moves too.
    moved = 0.05 if name == "vignetting" else 0.03
    assert seen(image, where) == pytest.approx(seen(stack, line), abs=moved)


@pytest.mark.parametrize("name", [name for name in CHANGES if name != "black planes"])
def test_no_light_appears_where_there_is_none(stack, line, name):
    """Not at the edge of padding, nor at the step: the mean of 3 x 3 pixels stays about what tile asks for."""
    from scipy.ndimage import binary_dilation, uniform_filter

    image = CHANGES[name](stack)
    light = uniform_filter(intensity.light(image, intensity.measure(image)), (1, 3, 3))
    where = np.pad(line, ((0, 0), (0, 0), (140, 0))) if name == "padding" else line
    assert light[~binary_dilation(where, iterations=3)].max() < 3.5


def test_padding_and_black_planes_are_no_data_and_the_zeros_of_a_cleaned_image_are(stack, line):
    assert intensity.measure(stack).summary["data"] == 1
    assert intensity.measure(padded(stack)).summary["data"] == pytest.approx(320 / 460, abs=0.03)
    assert intensity.measure(black_planes(stack)).summary["data"] == pytest.approx(9 / 12)
    assert intensity.measure(np.where(line, stack, 0)).summary["data"] == 1


def test_a_step_between_two_cells_costs_no_light(stack, line):
    image = stack.copy()
    image[:, 10 * CELL :] += 60
    near = np.zeros(SHAPE, bool)
    near[:, 9 * CELL : 11 * CELL] = True
    assert seen(image, line & near) == pytest.approx(seen(stack, line & near), abs=0.03)
    light = intensity.light(image, intensity.measure(image))
    assert light[near & ~line].mean() < 1


@pytest.mark.parametrize("reach", [6, 12])
def test_a_neuron_cut_out_of_its_surroundings_keeps_its_grey(stack, line, reach):
    """Single cells as collections publish them: what lies beyond some pixels is 0, inside the background is 60."""
    from scipy.ndimage import binary_dilation, uniform_filter

    island = binary_dilation(line, iterations=reach)
    image = np.where(island, stack, 0).astype(np.uint8)
    level = intensity.measure(image)
    assert level.summary["hole"] == 0
    assert level.summary["data"] == pytest.approx(island.mean(), rel=0.1)
    assert level.summary["background"] == pytest.approx(60, abs=4)
    assert seen(image, line) == pytest.approx(seen(stack, line), abs=0.03)
    light = uniform_filter(intensity.light(image, level), (1, 3, 3))
    assert light[~binary_dilation(line, iterations=3)].max() < 4


@pytest.mark.parametrize("offset", [0, 600, 3000])
@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_what_was_cut_out_is_found_whatever_the_offset(stack, line, offset, kind):
    from scipy.ndimage import binary_dilation

    image = np.where(binary_dilation(line, iterations=8), stack.astype(kind) + kind(offset), 0).astype(kind)
    level = intensity.measure(image)
    assert level.summary["hole"] == 0
    assert level.summary["background"] == pytest.approx(60 + offset, abs=4)
    assert level.summary["darkest"] > 40 + offset


@pytest.mark.parametrize("least", [20, 50, 80])
def test_a_cleaned_neuron_with_a_bright_soma_has_no_hole(line, least):
    """Its neurites are all alike and lie beside the zeros: they are no background."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    light = 130 * line.astype(np.float32)
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    light[(y - 60) ** 2 + (x - 60) ** 2 + 9 * (z - 6) ** 2 < 30**2] = 400
    image = gaussian_filter(light, (0.5, 1.2, 1.2)) + rng.normal(0, 3, SHAPE)
    image = np.where(image < least, 0, image).astype(np.float32)
    level = intensity.measure(image)
    assert "hole" not in level.summary
    assert level.summary["background"] == 0


def test_padding_beside_tiles_of_unlike_noise_does_not_change_it():
    rng = np.random.default_rng(0)
    tiles = np.concatenate([rng.normal(60, 3, (8, 160, 160)), rng.normal(120, 12, (8, 160, 160))], 2)
    tiles[:, 70:74] += 150
    tiles = np.rint(np.clip(tiles, 1, 255)).astype(np.uint8)
    padded = np.pad(tiles, ((0, 0), (0, 0), (64, 0)))
    for image in (tiles, padded):
        sigmas = intensity.above(image, intensity.measure(image))[:, :60]
        assert sigmas[:, :, -140:-20].std() == pytest.approx(1, abs=0.3)
        assert sigmas[:, :, -300:-180].std() == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("value", [0, 100])
@pytest.mark.parametrize("width", [((0, 0), (0, 160), (160, 0)), ((12, 12), (0, 0), (0, 0))])
def test_the_white_does_not_move_with_padding_even_as_dark_as_the_background(value, width):
    rng = np.random.default_rng(5)
    image = np.where(rng.random((24, 160, 160)) < 0.3, rng.poisson(2, (24, 160, 160)), 0)
    image[:, 78:81] += rng.integers(20, 200, (24, 3, 160))
    image = (image + value).astype(np.uint8)
    clean, padded = (intensity.measure(each) for each in (image, np.pad(image, width, constant_values=value)))
    assert padded.summary["brightest"] == pytest.approx(clean.summary["brightest"], abs=1)


def test_planes_without_data_do_not_hide_a_step(stack):
    image = stack.copy()
    image[:, :, 139:] += 80
    image[9:12] = 0
    light = intensity.light(image, intensity.measure(image))
    assert light[7, :, 130:150].mean(0).max() < 8


def test_the_light_of_a_box_is_that_of_the_whole_beside_holes_and_steps(stack, line):
    from scipy.ndimage import binary_dilation

    image = np.where(binary_dilation(line, iterations=8), stack, 0).astype(np.uint8)
    image[:, :, 150:] = np.where(image[:, :, 150:] > 0, image[:, :, 150:] + 60, 0)
    level = intensity.measure(image)
    box = [(2, 9), (37, 170), (41, 301)]
    part = tuple(slice(*ends) for ends in box)
    np.testing.assert_array_equal(
        intensity.above(image[part], level, box), intensity.above(image, level)[part]
    )


def test_an_even_slope_is_no_light_in_a_small_image_either():
    rng = np.random.default_rng(0)
    slope = np.linspace(0, 60, 64)[None, :, None] + np.linspace(0, 30, 64)
    image = np.rint(100 + slope + rng.normal(0, 5, (12, 64, 64))).astype(np.uint8)
    light = intensity.light(image, intensity.measure(image))
    assert light.mean() < 0.6 and np.quantile(light, 0.99) < 3.5


def test_tissue_that_varies_slowly_is_not_taken_for_noise():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:256, :256]
    haze = 20 * np.sin(y / 9) * np.sin(x / 11)
    image = np.rint(120 + haze + rng.normal(0, 5, (8, 256, 256))).astype(np.uint8)
    assert 4.5 < intensity.measure(image).summary["noise"] < 8.5


def test_a_third_of_padding_changes_neither_background_nor_noise(stack):
    clean, image = (intensity.measure(some).summary for some in (stack, padded(stack)))
    assert image["background"] == pytest.approx(clean["background"], abs=0.5)
    assert image["noise"] == pytest.approx(clean["noise"], rel=0.1)
    assert clean["background"] == pytest.approx(60, abs=1) and clean["noise"] == pytest.approx(5, rel=0.1)


def test_a_cleaned_tile_beside_one_of_another_value_is_data():
    image = np.zeros((6, 256, 320), np.uint8)
    rng = np.random.default_rng(0)
    for row in range(20, 256, 40):
        image[2:4, row : row + 4] = rng.integers(100, 200, (2, 4, 320))
    image[..., 160:] += 55
    assert intensity.measure(image).summary["data"] == 1


def test_a_cleaned_image_has_the_noise_of_its_neurites(line):
    """Cut to zero but for the neurite: its own roughness is all that is left to measure."""
    rng = np.random.default_rng(1)
    image = np.where(line, rng.normal(100, 8, SHAPE), 0).astype(np.float32)
    noise = intensity.measure(image).summary["noise"]
    assert 4 < noise < 24


@pytest.mark.parametrize("amplitude", [0.5, 3, 30])
def test_noise_has_one_look_whatever_its_amplitude(amplitude):
    image = np.random.default_rng(0).normal(1000, amplitude, SHAPE).astype(np.float32)
    grey = intensity.grey(image, intensity.measure(image))
    assert np.mean(grey) == pytest.approx(0.023, abs=0.003)
    assert np.quantile(grey, 0.999) < 0.25


def test_a_soma_is_no_background():
    _, y, x = np.indices((4, 400, 400))
    soma = (y - 200) ** 2 + (x - 210) ** 2 < 60**2
    image = np.random.default_rng(0).normal(50, 4, soma.shape) + 100 * soma
    light = intensity.light(image.astype(np.float32), intensity.measure(image))
    assert light[soma].mean() == pytest.approx(25, rel=0.1)


def test_the_levels_do_not_depend_on_the_slabs(stack):
    whole = intensity.measure(stack)
    parts = [intensity.look(stack[z : z + 5]) for z in range(0, 12, 5)]
    cut = intensity.levels(intensity.join(parts), stack.ravel(), integers=True)
    for name in ("low", "high", "noise"):
        assert_array_equal(getattr(cut, name), getattr(whole, name))


def test_the_light_of_a_voxel_does_not_depend_on_the_box(stack):
    level = intensity.measure(stack)
    box = [(3, 9), (37, 101), (150, 299)]
    inside = tuple(slice(*side) for side in box)
    assert_array_equal(intensity.light(stack[inside], level, box), intensity.light(stack, level)[inside])


def test_the_curve_is_even_and_ends_at_white():
    sigmas = np.array([0, 1, 3, 10, 30, 100, 300, 3000], np.float32)
    grey = intensity.curve(sigmas)
    assert np.all(np.diff(grey)[:-1] > 0) and grey[0] == 0 and grey[-1] == 1
    assert grey[1] == pytest.approx(0.084, abs=0.001)


@pytest.mark.parametrize("shape", [(1, 5, 7), (3, 16, 40), (2, 100, 3)])
@pytest.mark.parametrize("value", [0, 7])
def test_small_and_constant_volumes_are_black(shape, value):
    image = np.full(shape, value, np.uint16)
    assert not intensity.grey(image, intensity.measure(image)).any()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda stack: stack, None),
        (padded, "of the image holds data"),
        (lambda stack: 255 - stack, "invert the image"),
        (lambda stack: np.where(stack > 75, 60, stack), "hardly any signal"),
        (lambda stack: np.where(stack > 62, 255, stack), "are saturated"),
    ],
    ids=["fine", "padding", "dark on bright", "no signal", "saturated"],
)
def test_what_speaks_against_an_image_is_said(stack, change, words):
    told = intensity.doubts(intensity.measure(change(stack).astype(np.uint8)).summary)
    assert (told == []) if words is None else (words in "; ".join(told))


def test_what_compression_leaves_of_noise_is_no_signal():
    """JPEG makes of weak noise flat blocks and a few that hold a wave: a cleaned image of hardly any grey values."""
    import io

    from PIL import Image

    noise = np.clip(np.random.default_rng(1).normal(100, 2, (4, 256, 256)), 0, 255).astype(np.uint8)
    planes = []
    for plane in noise:
        file = io.BytesIO()
        Image.fromarray(plane).save(file, "JPEG", quality=50)
        planes.append(np.asarray(Image.open(file)))
    image = np.stack(planes)
    level = intensity.measure(image)
    assert intensity.above(image, level).max() < intensity.LEAST_SIGNAL
    assert any("hardly any signal" in said for said in intensity.doubts(level.summary))


def test_levels_are_read_as_they_were_written(tmp_path, stack, line):
    """A hole too: without it the light of what holds no data would be far below the background."""
    from scipy.ndimage import binary_dilation

    from pipeline import volume

    image = np.where(binary_dilation(line, iterations=6), stack, 0).astype(np.uint8)
    level = intensity.measure(image)
    path = tmp_path / "image.zarr"
    volume.create(path, shape=image.shape, dtype=image.dtype, voxel_size=(1.0, 0.4, 0.4))
    volume.write_levels(path, level)
    volume.describe(path, dict(level.summary))
    read = volume.read_levels(path)
    assert read.summary == level.summary
    np.testing.assert_array_equal(intensity.above(image, read), intensity.above(image, level))
