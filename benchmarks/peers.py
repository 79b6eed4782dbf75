"""What the network is worth: the same tracer on its probability and on the blurred, thresholded image.

python benchmarks/peers.py DATASET=RESULTS [DATASET=RESULTS ...] [--trained OP_1,OP_2]

RESULTS is a finished results folder of DATASET: image.zarr and prediction.zarr of each sample that has a
reference are read, segment and trace run in memory with their default settings, roots as in samples.tsv. Prints
markdown: F1 and precision / recall of length at 1.5 um.
"""

from pathlib import Path
from typing import Annotated

import cyclopts
import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.filters import threshold_otsu

from pipeline import config, dataset, swc, volume
from pipeline.intensity.points import Light
from pipeline.metrics.compare import Measured, compare
from pipeline.tracing import neuron
from pipeline.tracing.field import Field
from pipeline.tracing.segment import components

BLUR_VOXELS = (0.5, 1, 1)
# The low threshold, of the high one: the usual choice.
LOW_SHARE = 0.6
# Thresholds, of Otsu's, of which the best is chosen on the answer: what nobody has who traces a new stack.
SHARES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0, 1.2, 1.4, 1.7, 2.0)
TOLERANCE_UM = 1.5
NETWORK, OTSU = "network", "blur and Otsu"
BEST = f"blur and the best of {len(SHARES)} thresholds, chosen on the answer"


def main(*folders: Annotated[str, cyclopts.Parameter(help="DATASET=RESULTS")], trained: str = "") -> None:
    """Print the table. trained: comma-separated samples that the network was trained on (marked by a star)."""
    tried: dict[str, dict[str | float, dict]] = {}
    for pair in folders:
        data, results = map(Path, pair.split("="))
        for sample in dataset.discover(data):
            if sample.tree is not None:
                tried[sample.name] = every_way(sample, results / sample.name)
    print(table(rows(tried), set(trained.split(","))))
    print(f"\nOne threshold for all: best at {best_for_all(tried)} of Otsu's.")


def every_way(sample: dataset.Sample, result: Path) -> dict[str | float, dict]:
    """{NETWORK: scores, share of Otsu's threshold: scores, ...} of one sample."""
    image, certain = (volume.open_volume(result / name) for name in ("image.zarr", "prediction.zarr"))
    reference = swc.read(sample.reference, unit=sample.reference_unit, voxel_size=image.voxel_size)
    blurred = gaussian_filter(image.array[:].astype(np.float32), BLUR_VOXELS)
    threshold = float(threshold_otsu(blurred))
    settings = config.Config()

    light = volume.read_light(result / "image.zarr", shape=image.shape)

    def scored(probability: np.ndarray, light: Light | None = None) -> dict:
        labels = components(probability, image.voxel_size, settings.segment, light=light)
        root = sample.root and sample.root[::-1]
        found = neuron.trace(labels, Field(probability, image.voxel_size), settings.trace, root_zyx=root)
        tree = found.neurons[0].tree if found.neurons else swc.EMPTY
        scores = compare(Measured(tree), Measured(reference), tolerance_um=TOLERANCE_UM, topology=False)
        # A threshold above which nothing is left gives no tree: it has found nothing.
        return {name: float(np.nan_to_num(scores[name])) for name in ("f1", "precision", "recall")}

    return {
        NETWORK: scored(certain.channel("neurite"), light),
        **{share: scored(as_probability(blurred, share * threshold, config.Segment())) for share in SHARES},
    }


def as_probability(blurred: np.ndarray, threshold: float, segment: config.Segment) -> np.ndarray:
    """uint8 (z, y, x), 0..255 = 0..1, of a blurred image, cut by `segment` where a threshold cuts the image.

    At `threshold` it is the least value that counts as segment.high, at LOW_SHARE of it the least that counts as
    segment.low, in between and above (1 at twice the threshold) it grows with the image.
    """
    low, high = (np.ceil(np.float32(value * 255)) for value in (segment.low, segment.high))
    grey = np.interp(blurred, [0, LOW_SHARE * threshold, threshold, 2 * threshold], [0, low, high, 255])
    return np.floor(grey).astype(np.uint8)


def rows(tried: dict[str, dict[str | float, dict]]) -> dict[str, dict[str, dict]]:
    """{way: {sample: scores}}: the network, Otsu's threshold, and the best share of it for each sample."""

    def best(of_sample: dict[str | float, dict]) -> float:
        return max((of_sample[share]["f1"], share) for share in SHARES)[1]

    return {
        NETWORK: {name: of_sample[NETWORK] for name, of_sample in tried.items()},
        OTSU: {name: of_sample[1.0] for name, of_sample in tried.items()},
        BEST: {name: of_sample[best(of_sample)] for name, of_sample in tried.items()},
    }


def best_for_all(tried: dict[str, dict[str | float, dict]]) -> float:
    """The share of Otsu's threshold with the best mean F1 over all samples."""
    return max(
        (np.mean([of_sample[share]["f1"] for of_sample in tried.values()]), share) for share in SHARES
    )[1]


def table(scores: dict[str, dict[str, dict]], trained: set[str]) -> str:
    """Markdown, a row for each way, a column for each sample and their mean."""
    samples = list(next(iter(scores.values())))
    heads = [f"{name}*" if name in trained else name for name in samples]
    lines = [
        f"| same tracer on: F1 at {TOLERANCE_UM} um | {' | '.join(heads)} | mean |",
        "|---|" + "---|" * (len(samples) + 1),
    ]
    for way, of_sample in scores.items():
        f1 = [of_sample[name]["f1"] for name in samples]
        lines.append(f"| {way} | {' | '.join(f'{value:.3f}' for value in f1)} | {np.mean(f1):.3f} |")
    for way, of_sample in scores.items():
        pairs = [f"{of_sample[name]['precision']:.3f} / {of_sample[name]['recall']:.3f}" for name in samples]
        lines.append(f"| {way}: precision / recall | {' | '.join(pairs)} | |")
    if trained & set(samples):
        lines += ["", "\\* the network was trained on this stack."]
    return "\n".join(lines)


if __name__ == "__main__":
    cyclopts.run(main)
