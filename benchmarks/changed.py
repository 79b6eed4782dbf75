"""A stack as other microscopes and people would have left it: F1 after each change, and with voxels of other sizes.

And noise without a neurite.

python benchmarks/changed.py stack IMAGE REFERENCE --voxel-size 1.0,0.33,0.33 [--root x,y,z] [--only "step of 60; salt"]
python benchmarks/changed.py sizes IMAGE REFERENCE --voxel-size 1.0,0.33,0.33 [--root x,y,z] [--only "1,2,2;1,1/3,1/3"]
python benchmarks/changed.py noise [--shape 64,512,512] [--only gauss,poisson]

Every image goes through all stages in this process, with default settings.
"""

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cyclopts
import numpy as np
from scipy import ndimage
from simulated import WEIGHTS, f1, quiet, seen

from pipeline import config, images, intensity, swc
from pipeline.errors import InputError
from pipeline.swc import Tree
from pipeline.tracing import neuron

AMPLITUDES = (1, 2, 3, 5, 8, 12, 20, 35, 60, 100)
NOISE_UM = (1.0, 0.33, 0.33)
app = cyclopts.App()
Image = np.ndarray
Change = Callable[[Image, np.random.Generator], Image]


def as_bytes(image: np.ndarray) -> np.ndarray:
    """uint8: rounded, clipped to 0..255."""
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def black_planes(image: Image, rng: np.random.Generator) -> Image:
    """Eight planes lost, no two beside each other."""
    image = image.copy()
    image[rng.choice(np.arange(1, len(image) - 1, 3), 8, replace=False)] = 0
    return image


def stepped(image: Image, rng: np.random.Generator) -> Image:
    """The right half 60 grey values brighter, clipped: a mosaic of two tiles."""
    image = image.astype(float)
    image[:, :, image.shape[2] // 2 :] += 60
    return as_bytes(image)


def vignetted(image: Image, rng: np.random.Generator) -> Image:
    """Half of the light is lost in the corners."""
    y, x = (np.linspace(-1, 1, n) for n in image.shape[1:])
    return as_bytes(image * (1 - 0.25 * (y[:, None] ** 2 + x**2)))


def salted(image: Image, rng: np.random.Generator) -> Image:
    """Two voxels of a thousand are white."""
    return np.where(rng.random(image.shape) < 0.002, 255, image).astype(np.uint8)


def clouded(image: Image, rng: np.random.Generator) -> Image:
    """On a pedestal, dimmer, under soft clouds and noise of one more sigma."""
    sigma = max(float(image[image <= np.median(image) + 20].std()), 1.0)
    clouds = 75 * ndimage.gaussian_filter(rng.standard_normal(image.shape, np.float32), (1, 8, 8))
    return as_bytes(60 + 0.6 * image + sigma * (clouds + rng.standard_normal(image.shape, np.float32)))


def cleaned(image: Image, rng: np.random.Generator) -> Image:
    """What lies below a threshold is 0, small pieces are removed."""
    smooth = ndimage.gaussian_filter(image.astype(np.float32), (0, 0.7, 0.7))
    labels, count = ndimage.label(smooth > np.quantile(smooth, 0.99), np.ones((3, 3, 3)))
    large = np.bincount(labels.ravel(), minlength=count + 1) >= 60
    large[0] = False
    return np.where(large[labels], image, 0).astype(np.uint8)


def cut_out(background: float) -> Change:
    """Squares around what is bright keep a background with noise, what lies beyond is 0."""

    def change(image: Image, rng: np.random.Generator) -> Image:
        bright = cleaned(image, rng)[:, ::4, ::4] > 0
        near = ndimage.maximum_filter(bright, (5, 7, 7)).repeat(4, 1).repeat(4, 2)
        near = near[:, : image.shape[1], : image.shape[2]]
        return np.where(near, as_bytes(0.8 * image + rng.normal(background, 3, image.shape)), 0).astype(
            np.uint8
        )

    return change


CHANGES: dict[str, Change] = {
    "none": lambda image, rng: image,
    "30 % of padding": lambda image, rng: np.pad(image, ((0, 0), (0, 0), (0, int(0.43 * image.shape[2])))),
    "black planes": black_planes,
    "offset of 100": lambda image, rng: image.astype(np.uint16) + 100,
    "gain of a half": lambda image, rng: as_bytes(image * 0.5),
    "gain of four, clipped": lambda image, rng: as_bytes(image * 4.0),
    "step of 60": stepped,
    "16 bit": lambda image, rng: image.astype(np.uint16) * 257,
    "vignetting": vignetted,
    "salt": salted,
    "clouds": clouded,
    "cleaned": cleaned,
    "cut out, 10": cut_out(10),
    "cut out, 50": cut_out(50),
}


@app.command
def stack(
    image: Path,
    reference: Path,
    *,
    voxel_size: str,
    reference_unit: str = "voxel",
    root: str = "",
    only: str = "",
    weights: Path = WEIGHTS,
) -> None:
    """F1 at 1.5 um of an 8-bit stack and of changed copies. only: changes, joined by semicolons."""
    voxels, size, tree, begins = _given(image, reference, voxel_size, reference_unit, root)
    print("change\tF1", flush=True)
    for name in _asked(only, ";", CHANGES):
        changed = CHANGES[name](voxels, np.random.default_rng(0))
        view = quiet(seen, changed, size, weights)
        made = neuron.trace(view.labels, view.field, config.Trace(), root_zyx=begins and begins[::-1]).neurons
        print(f"{name}\t{f1(made[0].tree, tree) if made else 0.0:.3f}", flush=True)


# Factors of the voxel's edges, z, y, x: several voxels are made one, or one is made several.
SIZES = (
    "1,1,1",
    "1,2,2",
    "1,3,3",
    "2,1,1",
    "3,1,1",
    "1/2,1,1",
    "1/5,1,1",
    "1,1/2,1/2",
    "1,1/3,1/3",
    "1,1/4,1/4",
    "1,1/6,1/6",
)


@app.command
def sizes(
    image: Path,
    reference: Path,
    *,
    voxel_size: str,
    reference_unit: str = "voxel",
    root: str = "",
    only: str = "",
    weights: Path = WEIGHTS,
) -> None:
    """F1 at 1.5 um of an 8-bit stack whose voxels are larger (means) or finer (linear). only: some of SIZES."""
    voxels, size, tree, begins = _given(image, reference, voxel_size, reference_unit, root)
    print("voxels (z,y,x)\tum\tF1", flush=True)
    for name in _asked(only, ";", dict.fromkeys(SIZES)):
        factor = [float(Fraction(each)) for each in name.split(",")]
        larger = tuple(max(1, round(each)) for each in factor)
        part = voxels[tuple(slice(n // step * step) for n, step in zip(voxels.shape, larger))]
        made = intensity.binned(part.astype(np.float32), larger)
        finer = [max(1.0, 1 / each) for each in factor]
        made = as_bytes(ndimage.zoom(made, finer, order=1, mode="nearest", grid_mode=True))
        own = tuple(edge * each for edge, each in zip(size, factor))
        # The middle of the first voxel is 0, and has moved.
        moved = [(each - edge) / 2 for each, edge in zip(own, size)][::-1]
        here = Tree(tree.xyz - moved, tree.radius, tree.parent, tree.type)
        start = None
        if begins:
            voxel = (np.multiply(begins[::-1], size) - moved[::-1]) / own
            start = tuple(np.clip(voxel, 0, np.array(made.shape) - 1).tolist())
        view = quiet(seen, made, own, weights)
        found = neuron.trace(view.labels, view.field, config.Trace(), root_zyx=start).neurons
        told = ", ".join(f"{each:.3g}" for each in own)
        print(f"{name}\t{told}\t{f1(found[0].tree, here) if found else 0.0:.3f}", flush=True)


def normal(shape, amplitude, rng):
    """Read noise on a background of 100."""
    return 100 + amplitude * rng.normal(size=shape)


def hits(shape, amplitude, rng):
    """A quiet background and voxels of ten amplitudes."""
    image = 100 + 2 * rng.normal(size=shape)
    image[rng.random(shape) < 0.002] += 10 * amplitude
    return image


def by_slice(shape, amplitude, rng):
    """Planes of different offset."""
    return 100 + amplitude * rng.normal(size=(shape[0], 1, 1)) + amplitude / 3 * rng.normal(size=shape)


def binned(shape, amplitude, rng):
    """Squares of 2 x 2 pixels are alike."""
    small = rng.normal(size=(shape[0], shape[1] // 2, shape[2] // 2))
    return 100 + amplitude * small.repeat(2, 1).repeat(2, 2)


def smoothed(shape, amplitude, rng):
    """Noise a few pixels wide."""
    return 100 + 3.5 * amplitude * ndimage.gaussian_filter(rng.normal(size=shape), (0, 1, 1))


def sharpened(shape, amplitude, rng):
    """Noise after an unsharp mask."""
    grain = rng.normal(size=shape)
    return 100 + amplitude * (grain - 0.5 * ndimage.gaussian_filter(grain, (0, 1.5, 1.5)))


def banded(shape, amplitude, rng):
    """Rows of different offset."""
    rows = rng.normal(size=(*shape[:2], 1))
    return 100 + amplitude / 2 * (rows + rng.normal(size=shape))


def left_over(shape, amplitude, rng):
    """What a threshold of two sigma leaves."""
    grain = amplitude * rng.normal(size=shape)
    return np.where(grain < 2 * amplitude, 0, grain)


def compressed(shape, amplitude, rng):
    """uint8: Gaussian noise after JPEG at quality 50."""
    from PIL import Image as Picture

    planes = as_bytes(100 + min(amplitude, 60) * rng.normal(size=shape))
    for plane in planes:
        file = io.BytesIO()
        Picture.fromarray(plane).save(file, "JPEG", quality=50)
        plane[:] = np.asarray(Picture.open(file))
    return planes


NOISE = {
    "gauss": normal,
    "poisson": lambda shape, amplitude, rng: rng.poisson(amplitude**2, shape),
    "hits": hits,
    "by slice": by_slice,
    "binned": binned,
    "smoothed": smoothed,
    "sharpened": sharpened,
    "banded": banded,
    "left over": left_over,
    "compressed": compressed,
}


@app.command
def noise(*, shape: str = "64,512,512", only: str = "", weights: Path = WEIGHTS) -> None:
    """um of the longest tree in noise of each kind at AMPLITUDES, `neurons: all`. only: kinds, joined by commas."""
    edges = tuple(map(int, shape.split(",")))
    print("kind", *AMPLITUDES, sep="\t")
    for kind in _asked(only, ",", NOISE):
        row = []
        for amplitude in AMPLITUDES:
            rng = np.random.default_rng([list(NOISE).index(kind), amplitude])
            image = NOISE[kind](edges, amplitude, rng)
            image = np.clip(np.rint(image.astype(float)), 0, 65535)
            image = image.astype(np.uint8 if image.max() <= 255 else np.uint16)
            try:
                view = quiet(seen, image, NOISE_UM, weights)
            except InputError:  # of one value: no image
                row.append("refused")
                continue
            made = neuron.trace(view.labels, view.field, config.Trace(neurons="all")).neurons
            row.append(f"{max((swc.cable_length(each.tree) for each in made), default=0.0):.1f}")
        print(kind, *row, sep="\t", flush=True)


def _given(image: Path, reference: Path, voxel_size: str, reference_unit: str, root: str):
    """Voxels, their size (z, y, x um), the reference in um and the root (x, y, z voxels; None) of the options."""
    size = config.parse_triple("--voxel-size", voxel_size)
    assert size is not None
    tree = swc.read(reference, unit=reference_unit, voxel_size=size)
    voxels = np.asarray(images.open_image(image).array[:])
    return voxels, size, tree, config.parse_triple("--root", root, positive=False)


def _asked(only: str, comma: str, known: dict) -> list[str]:
    """The names that are asked for, all where none is."""
    names = [name.strip() for name in only.split(comma)] if only else list(known)
    for name in names:
        if name not in known:
            raise InputError("--only", f"found {name!r}", f"{comma} ".join(known))
    return names


if __name__ == "__main__":
    app()
