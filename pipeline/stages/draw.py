"""draw: a picture in which one sees whether a tree follows its image."""

import json
from pathlib import Path

import numpy as np

from pipeline import config, neurons, scoring, swc, volume
from pipeline.errors import InputError
from pipeline.files import whole
from pipeline.images.source import sizes


def run(
    image: Path,
    tree: Path,
    output: Path,
    *,
    name: str = "",
    reference: Path | None = None,
    unit: str = "um",
    metrics: Path | None = None,
    labels: Path | None = None,
    settings: config.Draw = config.Draw(),
) -> None:
    """Draw a tree over its image.

    Maximum projections along z, y and x at one scale with a scale bar; the tree in blue, the reference in
    yellow; cable that has no counterpart within the tolerance is drawn thick. Edges of which trace is not sure
    (confidence below one half, or in a gap) are drawn dashed in white, and numbers stand at the places that are least
    sure: look there first. With `labels`: the cells in colours over
    three sections, the worst split and the worst merge where there is a reference, and the longest trees.

    Args:
        image: OME-Zarr made by ingest.
        tree: SWC in um, or a folder of them; beside each its confidence, where trace made it.
        output: PNG.
        name: of the sample, for the title; empty: that of the tree.
        reference: SWC of the same neuron; with `labels` a label volume of the same shape.
        unit: of the reference: voxel | um | nm.
        metrics: JSON made by evaluate: gives the score in the title and the tolerance.
        labels: OME-Zarr made by agglomerate; `tree` is then the folder made by skeletonize.
    """
    import matplotlib

    source = volume.open_volume(image)
    score = _read_score(metrics)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a matplotlibrc of the user must not change the picture
        if labels:
            title = cell_caption(name or tree.stem, score)
            figure = _cells(source, labels, tree, reference=reference, title=title)
        else:
            title = caption(name or tree.stem, score)
            tolerance_um = score.get("tolerance_um") or config.Evaluate().tolerance_um
            figure = _trees(source, tree, reference, unit=unit, tolerance_um=tolerance_um, title=title)
        with whole(output) as private:
            # No metadata: same input, same bytes.
            figure.savefig(private, format="png", dpi=settings.dpi, metadata={"Software": None})
    print(f"{output}: {name or tree.stem} over {sizes(source.shape)} voxels (z,y,x)")


def _trees(source, tree: Path, reference: Path | None, *, unit: str, tolerance_um: float, title: str):
    from pipeline import picture

    paths = sorted(tree.glob("*.swc")) if tree.is_dir() else [tree]
    trees = [swc.read(path, empty=True) for path in paths]
    sure, gap = _sure(paths, trees)
    whole = swc.joined(trees) if trees else swc.EMPTY
    return picture.overview(
        source.array,
        source.voxel_size,
        tree=whole,
        doubtful=(sure < 0.5) | gap,
        worst=picture.worst_places(whole, sure),
        reference=swc.read(reference, unit=unit, voxel_size=source.voxel_size) if reference else None,
        tolerance_um=tolerance_um,
        title=title,
    )


def _cells(source, labels: Path, trees: Path, *, reference: Path | None, title: str):
    from pipeline import picture_cells
    from pipeline.metrics import cells

    segmentation = volume.open_volume(labels)
    if segmentation.shape != source.shape:
        found = f"shapes {segmentation.shape} of labels and {source.shape} of the image"
        raise InputError(labels, found, "two equal shapes")
    truth = scoring.read_reference(reference, source.shape, of=labels) if reference else None
    return picture_cells.overview(
        source.array,
        segmentation.array[:],
        source.voxel_size,
        trees=scoring.read_trees(trees),
        pieces=None if truth is None else cells.in_pieces(truth),
        title=title,
    )


def _sure(paths: list[Path], trees: list[swc.Tree]) -> tuple[np.ndarray, np.ndarray]:
    """(n,) confidence of the edges of all trees, 1 where nothing is known, and bool (n,): those in a gap."""
    sure, gap = [np.zeros(0)], [np.zeros(0, bool)]
    for path, tree in zip(paths, trees):
        known = neurons.read_confidence(path)
        if known is None or len(known[0]) != len(tree):
            known = np.ones(len(tree)), np.full(len(tree), np.nan)
        sure.append(known[0])
        gap.append(np.isfinite(known[1]))
    return np.concatenate(sure), np.concatenate(gap)


def caption(sample: str, score: dict[str, float | None]) -> str:
    """'OP_7     F1 0.961   precision 0.97   recall 0.95   ESA 0.83 um'; what the score lacks is left out."""
    words = {
        "f1": "F1 {:.3f}",
        "precision": "precision {:.3f}",
        "recall": "recall {:.3f}",
        "esa": "ESA {:.2f} µm",
    }
    return _said(sample, score, words)


def cell_caption(sample: str, score: dict[str, float | None]) -> str:
    """'fib25   212 cells   VI split 0.62 + merge 0.48   ARE 0.081   ERL 2.10 µm   F1 0.88'; without what is lacking."""
    words = {
        "cells": "{:.0f} cells",
        "vi_split": "VI split {:.3f}",
        "vi_merge": "merge {:.3f}",
        "are_cremi": "ARE {:.3f}",
        "erl": "ERL {:.2f} µm",
        "f1": "F1 {:.3f}",
    }
    return _said(sample, score, words)


def _said(sample: str, score: dict[str, float | None], words: dict[str, str]) -> str:
    shown = [text.format(score[name]) for name, text in words.items() if score.get(name) is not None]
    if score.get("nodes") == 0:
        shown.insert(0, "no neurite found")
    return "     ".join((sample, "   ".join(shown))).rstrip()


def _read_score(metrics: Path | None) -> dict[str, float | None]:
    if metrics is None:
        return {}
    try:
        return json.loads(metrics.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(metrics, f"not readable ({error})", "metrics.json made by evaluate") from error
