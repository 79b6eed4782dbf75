"""What the network is worth: the same tracer on its probability and on the blurred, thresholded image.

python benchmarks/peers.py DATASET=RESULTS [DATASET=RESULTS ...] [--trained OP_1,OP_2]

RESULTS is a finished results folder of DATASET: image.zarr and probability.zarr of each sample that has a
reference are read, segment and trace run in memory with their default settings, roots as in samples.tsv. Prints
markdown: F1 and precision / recall of length at 1.5 um.
"""

from pathlib import Path
from typing import Annotated

import cyclopts
import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.filters import threshold_otsu

from pipeline import config, dataset, swc, tracing, volume
from pipeline.metrics.compare import Measured, compare
from pipeline.tracing.segment import components

BLUR_VOXELS = (0.5, 1, 1)
TOLERANCE_UM = 1.5


def main(*folders: Annotated[str, cyclopts.Parameter(help="DATASET=RESULTS")], trained: str = "") -> None:
    """Print the table. trained: comma-separated samples that the network was trained on (marked by a star)."""
    scores = {"network": {}, "blur and Otsu": {}}
    for pair in folders:
        data, results = map(Path, pair.split("="))
        for sample in dataset.discover(data):
            if sample.reference is not None:
                for name, score in both_ways(sample, results / sample.name).items():
                    scores[name][sample.name] = score
    print(table(scores, set(trained.split(","))))


def both_ways(sample: dataset.Sample, result: Path) -> dict[str, dict]:
    """{"network": scores, "blur and Otsu": scores} of one sample."""
    image, certain = (volume.open_volume(result / name) for name in ("image.zarr", "probability.zarr"))
    reference = swc.read(sample.reference, unit=sample.reference_unit, voxel_size=image.voxel_size)
    scores = {}
    for name, probability in (("network", certain.array[:]), ("blur and Otsu", otsu(image.array[:]))):
        settings = config.Config()
        labels = components(probability, image.voxel_size, **settings.segment.model_dump())
        tree = tracing.trace(
            labels,
            probability,
            voxel_size=image.voxel_size,
            root_zyx=sample.root and sample.root[::-1],
            **settings.trace.model_dump(),
        )
        scores[name] = compare(Measured(tree), Measured(reference), tolerance_um=TOLERANCE_UM)
    return scores


def otsu(image: np.ndarray) -> np.ndarray:
    """uint8 (z, y, x), 0..255 = 0..1: .6 at Otsu's threshold of the blurred image, .3 at six tenths of it.

    So the default thresholds of segment are Otsu's, with a low one of .6 times that: the usual choice.
    """
    blurred = gaussian_filter(image.astype(np.float32), BLUR_VOXELS)
    threshold = threshold_otsu(blurred)
    shares = np.interp(blurred / threshold, [0, 0.6, 1, 2], [0, 0.3, 0.6, 1])
    return np.rint(255 * shares).astype(np.uint8)


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
