"""The picture that shows whether a dense segmentation is right: cells on slices, the worst errors, trees."""

import colorsys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from scipy.ndimage import binary_dilation

from pipeline.metrics import labels as label_metrics
from pipeline.metrics.scores import Scores
from pipeline.picture import INK, LEGEND, scale_strip
from pipeline.swc import Tree, cable_length

LARGEST = 12  # trees shown
PIXELS = 500  # a slice is shown with about so many a side
# Inches: the longest a panel may get, the strips above it and below all, the space between panels.
EDGE, CAPTION, TITLE, GAP = 4.0, 0.28, 0.45, 0.1
GOLDEN = 0.618034
OPAQUE = 0.45  # colour over grey: membranes stay in sight
BLOTTED = 7  # sections tried for one that has a picture


@dataclass(frozen=True)
class Panel:
    """What one place of the figure shows: grey (y, x) in [0, 1] under labels (y, x), outlined: bool (y, x)."""

    caption: str
    grey: np.ndarray
    labels: np.ndarray
    outlined: np.ndarray | None = None


def overview(
    image,
    labels: np.ndarray,
    voxel_size: tuple[float, float, float],
    *,
    trees: Mapping[int, Tree],
    pieces: np.ndarray | None = None,
    title: str = "",
) -> Figure:
    """Rows of panels at one scale. image: (z, y, x), read by sections. labels: (z, y, x). trees: um, by label.

    First the cells, each in a colour of its own, over three sections. With `pieces` (reference labels, each in one
    piece): the object that adds most to vi_split with the segments in it, the segment that adds most to vi_merge
    with the objects in it, each outlined where most of the error is seen, and the reference. Last the
    longest trees along z, y and x, in the colours of their cells.
    """
    depth, height, width = np.multiply(labels.shape, voxel_size)
    scale = EDGE / max(width, height)  # inches a um; what is deeper than wide is drawn smaller
    scale = min(scale, EDGE / depth)
    sections = [_slices(image, labels)]
    if pieces is not None:
        sections.append(_errors(image, labels, pieces))
    column, row = max(width * scale, 2.2), height * scale + CAPTION
    last = max(height, depth) * scale + CAPTION
    size = (3 * column + 2 * GAP, TITLE + len(sections) * row + last + LEGEND)
    figure = Figure(figsize=size, facecolor="black")
    FigureCanvasAgg(figure)
    for number, panels in enumerate(sections):
        bottom = size[1] - TITLE - (number + 1) * row
        for place, panel in enumerate(panels):
            axes = _axes(figure, place * (column + GAP), bottom, width * scale, height * scale, panel.caption)
            _show(axes, panel)
    _draw_trees(
        figure, trees, (depth, height, width), voxel_size, scale=scale, column=column, top=LEGEND + last
    )
    scale_strip(figure, scale, width)
    figure.text(0.1 / size[0], 1 - 0.5 * TITLE / size[1], title, color=INK, va="center")
    return figure


def colours(labels: np.ndarray) -> np.ndarray:
    """(..., 3) float: a colour of each label, the same everywhere; neighbours in number lie far apart in hue."""
    found, place = np.unique(labels, return_inverse=True)
    table = [
        colorsys.hsv_to_rgb(number * GOLDEN % 1, (0.9, 0.6)[number // 3 % 2], (1.0, 0.8)[number // 2 % 2])
        for number in map(int, found)
    ]
    return np.array(table).reshape(-1, 3)[place.reshape(labels.shape)]


def _slices(image, labels: np.ndarray) -> list[Panel]:
    """Three sections with all cells."""
    panels = []
    for part in (1, 3, 5):
        z, grey = _section(image, part * len(labels) // 6)
        panels.append(Panel(f"cells, section {z}", grey, labels[z]))
    return panels


def _errors(image, labels: np.ndarray, pieces: np.ndarray) -> list[Panel]:
    """The worst split, the worst merge, and the reference."""
    table = label_metrics.overlap(labels, pieces)
    table = table.where(table.truth != label_metrics.BACKGROUND)
    (objects, split), (segments, merge) = label_metrics.shares(table)
    total: Scores = label_metrics.variation_of_information(table)
    merge = np.where(segments == label_metrics.BACKGROUND, 0, merge)
    panels = []
    for what, found, bits, of, within, others in (
        ("split", objects, split, pieces, labels, "segments"),
        ("merge", segments, merge, labels, pieces, "objects"),
    ):
        if not len(bits) or bits.max() <= 0:
            z, grey = _section(image, len(labels) // 2)
            panels.append(Panel(f"no {what}", grey, np.zeros_like(labels[z])))
            continue
        worst = of == found[bits.argmax()]
        names, voxels = np.unique(within[worst], return_counts=True)
        # The section that shows most of what should not be so: of all parts but the largest.
        aside = worst & (within != names[voxels.argmax()])
        z, grey = _first_seen(image, np.argsort(-aside.sum((1, 2)), kind="stable"))
        count = np.count_nonzero(names)
        caption = (
            f"worst {what}: {bits.max():.2g} of {total[f'vi_{what}']:.2g} bits, {count} {others}, section {z}"
        )
        panels.append(Panel(caption, grey, np.where(worst[z], within[z], 0), worst[z]))
    z, grey = _section(image, len(labels) // 2)
    return [*panels, Panel(f"reference, section {z}", grey, pieces[z])]


def _section(image, z: int) -> tuple[int, np.ndarray]:
    """The section z, or the nearest that has a picture, in grey."""
    return _first_seen(image, sorted(range(image.shape[0]), key=lambda other: (abs(other - z), other)))


def _first_seen(image, order: Sequence[int] | np.ndarray) -> tuple[int, np.ndarray]:
    """The first of some sections that has a picture, in grey; the very first where several in a row have none."""
    first = int(order[0])
    for z in map(int, order[:BLOTTED]):
        plane = np.asarray(image[z : z + 1])[0]
        if plane.min() < plane.max():
            return z, tone(plane)
    return first, tone(np.asarray(image[first : first + 1])[0])


def tone(plane: np.ndarray) -> np.ndarray:
    """Section -> float32 grey in [0, 1]: its first and last percent black and white."""
    low, high = np.percentile(plane, (1, 99))
    return np.clip((plane.astype(np.float32) - low) / max(high - low, 1e-6), 0, 1)


def _show(axes: Axes, panel: Panel) -> None:
    """Every so many pixels of a panel, with its colours and its outline in white."""
    step = -(-max(panel.grey.shape) // PIXELS)
    grey, labels = panel.grey[::step, ::step], panel.labels[::step, ::step]
    cover = np.where(labels != 0, OPAQUE, 0)[..., None]
    pixels = grey[..., None] * (1 - cover) + colours(labels) * cover
    if panel.outlined is not None:
        inside = panel.outlined[::step, ::step]
        pixels[binary_dilation(inside) & ~inside] = 1
    axes.imshow(np.clip(pixels, 0, 1), aspect="auto", interpolation="nearest")


def _draw_trees(
    figure: Figure,
    trees: Mapping[int, Tree],
    size_um: tuple[float, float, float],
    voxel_size: tuple[float, float, float],
    *,
    scale: float,
    column: float,
    top: float,
) -> None:
    """The longest trees along z, y and x below `top` (inches), z, y, x um of the volume at `scale` inches a um."""
    longest = sorted(trees, key=lambda label: (-cable_length(trees[label]), label))[:LARGEST]
    tints = colours(np.array(longest, np.int64))
    for place, (right, down) in enumerate(((2, 1), (2, 0), (0, 1))):
        width, height = size_um[right] * scale, size_um[down] * scale
        names = f"{'zyx'[right]} →   {'zyx'[down]} ↓"
        caption = f"the {len(longest)} longest of {len(trees)} trees   {names}" if place == 0 else names
        axes = _axes(figure, place * (column + GAP), top - CAPTION - height, width, height, caption)
        axes.set_facecolor("#202020")
        axes.patch.set_visible(True)
        for label, tint in zip(longest, tints):
            axes.add_collection(
                LineCollection(list(_edges(trees[label], right, down)), colors=[tint], linewidths=1.2)
            )
        # The centre of voxel 0 lies at 0 um.
        first = -np.asarray(voxel_size) / 2
        axes.set_xlim(first[right], first[right] + size_um[right])
        axes.set_ylim(first[down] + size_um[down], first[down])


def _edges(tree: Tree, right: int, down: int) -> Iterator[np.ndarray]:
    """(2, 2) um for each edge: its ends in the plane of two of the axes z, y, x."""
    child = np.flatnonzero(tree.parent >= 0)
    ends = np.stack([tree.xyz[tree.parent[child]], tree.xyz[child]], axis=1)
    return iter(ends[:, :, [2 - right, 2 - down]])


def _axes(figure: Figure, left: float, bottom: float, width: float, height: float, caption: str) -> Axes:
    full_width, full_height = figure.get_size_inches()
    axes = figure.add_axes(
        (left / full_width, bottom / full_height, width / full_width, height / full_height)
    )
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)
    axes.text(0, 1.01, caption, color=INK, fontsize=6.5, va="bottom", transform=axes.transAxes)
    return axes
