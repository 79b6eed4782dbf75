"""The files of a dense segmentation and of what is known of it -> its scores."""

from pathlib import Path

import numpy as np

from pipeline import images, swc
from pipeline.errors import InputError
from pipeline.images.source import sizes
from pipeline.metrics.scores import Scores
from pipeline.swc import Tree

Triple = tuple[float, float, float]


def is_labels(path: Path) -> bool:
    """Whether a path names a volume rather than an SWC file or a folder of them."""
    file, _ = images.split(path)
    return bool(images.stem(file.name)) or (path / "zarr.json").exists()


def cells(
    prediction: Path,
    *,
    trees: Path | None = None,
    reference: Path | None = None,
    skeletons: Path | None = None,
    unit: str = "um",
    voxel_size: Triple | None = None,
    tolerance_um: float = 0.2,
    min_length_um: float = 1.0,
) -> Scores:
    """Figures of a label volume and, by what there is, its scores.

    prediction, reference: label volumes of one shape, of any format. trees: folder of {label}.swc in um. skeletons:
    folder of reference SWC files in `unit`, or one; each of min_length_um or more is compared with a tree.
    voxel_size: z, y, x um where the prediction says none.
    """
    from pipeline.images import labels
    from pipeline.metrics import cells as metrics
    from pipeline.metrics import compare

    segmentation, own = labels.read(prediction)
    size = voxel_size or own
    if size is None and (skeletons or unit == "voxel"):
        raise InputError("--voxel-size", "not given", "z,y,x in um, e.g. 0.008,0.008,0.008")
    scores: Scores = {}
    if reference:
        truth = read_reference(reference, segmentation.shape, of=prediction)
        scores |= metrics.label_scores(segmentation, metrics.in_pieces(truth))
    found = read_trees(trees) if trees else {}
    if skeletons and size:
        known = _read_skeletons(skeletons, segmentation.shape, unit=unit, voxel_size=size)
        scores |= metrics.run_lengths(known, segmentation, voxel_size=size)
        if trees:
            scores |= metrics.matched(
                known,
                segmentation,
                found,
                voxel_size=size,
                tolerance_um=tolerance_um,
                min_length_um=min_length_um,
            )
            scores |= {"cell_tolerance_um": tolerance_um, "cell_min_length_um": min_length_um}
    scores |= metrics.describe(segmentation)
    if trees:
        scores |= {"neurons": len(found)}
        scores |= compare.describe(compare.Measured(swc.joined(list(found.values())) if found else swc.EMPTY))
    return scores


def read_reference(path: Path, shape: tuple[int, ...], *, of: Path) -> np.ndarray:
    """Labels (z, y, x) of a reference, which must have the shape of the volume `of`."""
    from pipeline.images import labels

    truth, _ = labels.read(path)
    if truth.shape != shape:
        raise InputError(path, f"{sizes(truth.shape)} labels", f"{sizes(shape)}, as {of} has")
    return truth


def read_trees(folder: Path) -> dict[int, Tree]:
    """The trees of a folder of {label}.swc, by rising label."""
    if not folder.is_dir():
        raise InputError(folder, "no such folder", "a folder of trees made by skeletonize")
    paths = list(folder.glob("*.swc"))
    if strangers := sorted(path.name for path in paths if not path.stem.isdecimal()):
        raise InputError(folder / strangers[0], "a name that is no label", "{label}.swc, made by skeletonize")
    return {label: swc.read(path, empty=True) for label, path in sorted((int(p.stem), p) for p in paths)}


def _read_skeletons(path: Path, shape: tuple[int, ...], *, unit: str, voxel_size: Triple) -> list[Tree]:
    """The skeletons of a folder, or the one of a file, in um; together they must lie in the volume."""
    files = swc.below(path) if path.is_dir() else [path]
    if not files:
        raise InputError(path, "no .swc file below it", "a folder of reference skeletons")
    found = [swc.read(file, unit=unit, voxel_size=voxel_size) for file in files]
    nodes = np.concatenate([tree.xyz for tree in found])
    require_inside(path, swc.um_to_voxel(nodes, voxel_size), shape)
    return found


def require_inside(path: Path, voxels: np.ndarray, shape: tuple[float, ...]) -> None:
    """Half of the nodes must lie in the image: otherwise the unit is wrong, or it is another image.

    Some always may: of a tree in voxels that is read as um a few near the origin fall inside.
    """
    inside = ((voxels >= -0.5) & (voxels < [edge - 0.5 for edge in shape])).all(1).mean()
    if inside < 0.5:
        low, high = (" ".join(f"{value:.0f}" for value in f(0)) for f in (voxels.min, voxels.max))
        size = " ".join(f"{edge:.0f}" for edge in shape)
        raise InputError(
            path,
            f"{inside:.0%} of its nodes lie in the image: it spans voxels {low} to {high} (z y x)",
            f"half of them at least within 0 0 0 to {size}; check the unit of the reference",
        )
