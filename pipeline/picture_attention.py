"""Where a vision transformer looks: pictures beside the attention of its class token."""

from pathlib import Path

import numpy as np

from pipeline.files import whole


def draw(rgb: np.ndarray, maps: np.ndarray, output: Path, *, title: str) -> None:
    """Write a PNG with a column a picture: the picture, the mean of all heads, then each head.

    rgb: (n, S, S, 3) uint8. maps: (n, heads, h, w) attention, each head scaled to its own largest value.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    names = ["picture", "mean of heads", *(f"head {number + 1}" for number in range(maps.shape[1]))]
    figure = Figure(figsize=(1.3 * len(rgb) + 0.6, 1.3 * len(names) + 0.4), layout="constrained")
    axes = figure.subplots(len(names), len(rgb), squeeze=False)
    for column, (picture, heads) in enumerate(zip(rgb, maps)):
        axes[0, column].imshow(picture)
        for row, looked in enumerate([heads.mean(0), *heads], 1):
            axes[row, column].imshow(looked, cmap="magma", vmin=0, interpolation="bicubic")
    for row, name in enumerate(names):
        axes[row, 0].set_ylabel(name, fontsize=8)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    figure.suptitle(title, fontsize=9)
    with whole(output) as private:
        # No date and no version: the same weights give the same bytes.
        figure.savefig(private, format="png", dpi=80, metadata={"Software": None})
