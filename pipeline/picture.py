"""The picture that shows in a second whether a trace is right: three projections, two trees, errors thick."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from scipy.spatial import cKDTree

from pipeline.arrays import spread
from pipeline.swc import Tree
from pipeline.volume import slabs

# Blue and yellow stay apart for all kinds of colour blindness, dark and light also in greyscale.
PREDICTION, REFERENCE, INK = "#3d9bff", "#ffe14d", "#ffffff"
DOUBTFUL = {"color": INK, "linewidth": 1.0, "linestyle": (0, (2, 2)), "label": "not sure"}
# Places of which trace is surer than this get no number.
FAIRLY = 0.9
# A projection is pooled to about this many pixels: more than a picture shows.
PIXELS = 1500
MARGIN = 0.06  # of the longer side of the trees, around them
# Inches: the longest the projections may get, the strips above and below them, the space between them.
WIDTH, HEIGHT, TITLE, LEGEND, GAP = 9.0, 11.0, 0.45, 0.55, 0.08


def projections(array) -> list[np.ndarray]:
    """Maximum projections of a (z, y, x) volume along z, y and x: (y, x), (z, x), (z, y); read slab by slab."""
    along_z = np.asarray(array[:1])[0]
    along_y, along_x = [], []
    for z in slabs(array):
        slab = np.asarray(array[z])
        along_z = np.maximum(along_z, slab.max(0))
        along_y.append(slab.max(1))
        along_x.append(slab.max(2))
    return [along_z, np.concatenate(along_y), np.concatenate(along_x)]


def tone(projection: np.ndarray) -> np.ndarray:
    """Projection -> float32 grey in [0, 1]: the lower quartile black, its 99.7 percentile white, square root.

    The background of a maximum projection is the brightest noise of many voxels, so black lies within it; the
    square root lifts dim neurites.
    """
    values = projection.astype(np.float32)
    low, high = np.percentile(values, (25, 99.7))
    if high <= low:
        low, high = values.min(), max(values.max(), values.min() + 1)
    return np.sqrt(np.clip((values - low) / (high - low), 0, 1))


def pool(projection: np.ndarray, limit: int = PIXELS) -> np.ndarray:
    """The maximum over blocks, so that no side is longer than `limit`; a thin neurite stays as bright as it is."""
    steps = [-(-size // limit) for size in projection.shape]
    for axis, step in enumerate(steps):
        starts = np.arange(0, projection.shape[axis], step)
        projection = np.maximum.reduceat(projection, starts, axis=axis)
    return projection


def cut_edges(tree: Tree, *, step_um: float = 0.5) -> np.ndarray:
    """(n, 2, 3) um: all edges of a tree, cut so that none is longer than `step_um`."""
    child = np.flatnonzero(tree.parent >= 0)
    start, end = tree.xyz[tree.parent[child]], tree.xyz[child]
    count = np.maximum(np.ceil(np.linalg.norm(end - start, axis=1) / step_um).astype(int), 1)
    edge, place = spread(count)
    ends = [start[edge] + (end - start)[edge] * ((place + side) / count[edge])[:, None] for side in (0, 1)]
    return np.stack(ends, axis=1)


def far(segments: np.ndarray, others: np.ndarray, *, tolerance_um: float) -> np.ndarray:
    """bool (n,): pieces of cable whose middle is farther than the tolerance from the middle of all others."""
    if not len(segments) or not len(others):
        return np.ones(len(segments), bool)
    return cKDTree(others.mean(1)).query(segments.mean(1))[0] > tolerance_um


def worst_places(tree: Tree, sure: np.ndarray, *, most: int = 5, apart_um: float = 10.0) -> np.ndarray:
    """(k, 3) um: the nodes of which trace is least sure (below FAIRLY), the worst first, none near another."""
    places: list[np.ndarray] = []
    for row in np.argsort(sure, kind="stable"):
        if sure[row] >= FAIRLY or len(places) == most:
            break
        if all(np.linalg.norm(tree.xyz[row] - place) > apart_um for place in places):
            places.append(tree.xyz[row])
    return np.array(places).reshape(-1, 3)


def overview(
    array,
    voxel_size: tuple[float, float, float],
    *,
    tree: Tree,
    reference: Tree | None = None,
    doubtful: np.ndarray | None = None,
    worst: np.ndarray | None = None,
    tolerance_um: float = 1.5,
    title: str = "",
) -> Figure:
    """Projections along z, y and x of a (z, y, x) volume at one scale, with trees (um) over them.

    Blue: `tree`; yellow: `reference`. Where there are both, cable farther than `tolerance_um` from the other
    tree is thick: thick blue is not in the reference, thick yellow was missed. A ring marks each root.
    doubtful: bool (n,), nodes of `tree` whose edge to the parent is drawn dashed. worst: (k, 3) um, places that get the
    numbers 1, 2, ... in the view along z.
    """
    size_um = np.multiply(array.shape, voxel_size)
    depth, height, width = size_um
    scale = min((WIDTH - GAP) / (width + depth), (HEIGHT - GAP) / (height + depth))  # inches a um
    inches = (scale * (width + depth) + GAP, scale * (height + depth) + GAP + TITLE + LEGEND)
    # A narrow volume still needs room for title and legend.
    figure = Figure(figsize=(max(inches[0], 6.0), inches[1]), facecolor="black")
    FigureCanvasAgg(figure)
    bottom = LEGEND + scale * depth + GAP
    # The panel, and which of z, y, x runs to the right and down in it.
    panels = [
        (_panel(figure, 0, bottom, scale * width, scale * height), 2, 1),
        (_panel(figure, 0, LEGEND, scale * width, scale * depth), 2, 0),
        (_panel(figure, scale * width + GAP, bottom, scale * depth, scale * height), 0, 1),
    ]
    layers = list(_layers(tree, reference, tolerance_um))
    if doubtful is not None and (unsure := np.flatnonzero(doubtful & (tree.parent >= 0))).size:
        layers.append((np.stack([tree.xyz[tree.parent[unsure]], tree.xyz[unsure]], axis=1), DOUBTFUL))
    for (panel, right, down), projection in zip(panels, projections(array), strict=True):
        grey = tone(pool(projection))
        if down != 1 or right != 2:
            grey = grey if down == 0 else grey.T  # (z, y) is shown with z to the right
        _show(panel, grey, size_um[[right, down]], np.asarray(voxel_size)[[right, down]])
        for segments, style in layers:
            panel.add_collection(LineCollection(list(segments[:, :, [2 - right, 2 - down]]), **style))
        roots = tree.xyz[tree.parent < 0][:, [2 - right, 2 - down]]
        panel.plot(*roots.T, "o", mfc="none", mec=INK, mew=1, ms=7)
        axes = f"{'zyx'[right]} →   {'zyx'[down]} ↓"
        panel.text(0.99, 0.99, axes, color=INK, fontsize=7, ha="right", va="top", transform=panel.transAxes)
    outline = withStroke(linewidth=2, foreground="black")
    for number, place in enumerate([] if worst is None else worst, 1):
        panels[0][0].annotate(
            str(number),
            place[:2],
            (5, 5),
            textcoords="offset points",
            color=INK,
            fontsize=9,
            path_effects=[outline],
        )
    _legend(figure, scale, width, layers)
    figure.text(
        0.1 / figure.get_figwidth(), 1 - 0.5 * TITLE / figure.get_figheight(), title, color=INK, va="center"
    )
    return figure


def benchmark(
    gold: Tree,
    trees: dict[str, Tree],
    *,
    projection: np.ndarray | None,
    voxel_size: tuple[float, float, float],
    tolerance_um: float,
) -> Figure:
    """A row of panels seen along z: the gold standard alone, then each tree with it, captioned by its key.

    projection: (y, x) grey values under the trees, None for black. Trees in um; colours as in `overview`. Shown is
    the part of the projection where any of the trees is.
    """
    voxel_um = np.asarray(voxel_size)[[2, 1]]
    xy = np.concatenate([tree.xyz[:, :2] for tree in (gold, *trees.values())])
    margin = max(MARGIN * np.ptp(xy, axis=0).max(), 4 * voxel_um.max())
    low, high = xy.min(0) - margin, xy.max(0) + margin
    size_um = high - low
    captions = ["gold standard", *trees]
    edge = WIDTH * 1.5 / len(captions)
    height = min(edge * size_um[1] / size_um[0], HEIGHT)
    figure = Figure(figsize=(edge * len(captions), height + TITLE), facecolor="black")
    FigureCanvasAgg(figure)
    plain = [(cut_edges(gold), {"color": REFERENCE, "linewidth": 1.0})]
    for place, layers in enumerate([plain, *(_layers(tree, gold, tolerance_um) for tree in trees.values())]):
        panel = _panel(figure, place * edge, 0, edge - GAP, height)
        if projection is not None:
            _show_part(panel, projection, voxel_um, low, high)
        panel.set_xlim(low[0], high[0])
        panel.set_ylim(high[1], low[1])
        panel.set_aspect("equal")
        for segments, style in layers:
            panel.add_collection(LineCollection(list(segments[:, :, :2]), **style))
        panel.set_title(captions[place], color=INK, fontsize=10)
    bar = scale_bar_um(size_um[0])
    panel = figure.axes[0]
    left, bottom = low + (0.04, 0.95) * size_um
    outline = withStroke(linewidth=4, foreground="black")  # a soma may lie under it
    edged: dict[str, Any] = {"color": INK, "path_effects": [outline]}
    panel.plot([left, left + bar], [bottom, bottom], linewidth=3, solid_capstyle="butt", **edged)
    panel.text(left, bottom - 0.02 * size_um[1], f"{bar:g} µm", fontsize=9, va="bottom", **edged)
    return figure


def scale_bar_um(width_um: float) -> float:
    """The longest of 1, 2, 5, 10, 20 ... um within a fourth of the width."""
    longest = width_um / 4
    power = 10.0 ** np.floor(np.log10(longest))
    return float(max(step for step in (power, 2 * power, 5 * power) if step <= longest))


def _layers(tree: Tree, reference: Tree | None, tolerance_um: float) -> Sequence[tuple[np.ndarray, dict]]:
    """(segments (n, 2, 3) um, style) from the lowest to the highest; the style's label is for the legend."""
    predicted = cut_edges(tree)
    if reference is None:
        return [(predicted, {"color": PREDICTION, "linewidth": 1.0, "label": "prediction"})]
    wanted = cut_edges(reference)
    missed = far(wanted, predicted, tolerance_um=tolerance_um)
    false = far(predicted, wanted, tolerance_um=tolerance_um)
    return [
        (wanted[~missed], {"color": REFERENCE, "linewidth": 2.2, "alpha": 0.6, "label": "reference"}),
        (predicted[~false], {"color": PREDICTION, "linewidth": 1.0, "label": "prediction"}),
        (wanted[missed], {"color": REFERENCE, "linewidth": 3.5, "label": "missed"}),
        (predicted[false], {"color": PREDICTION, "linewidth": 3.5, "label": "not in the reference"}),
    ]


def _panel(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    full_width, full_height = figure.get_size_inches()
    panel = figure.add_axes(
        (left / full_width, bottom / full_height, width / full_width, height / full_height)
    )
    panel.set_axis_off()
    return panel


def _show(panel: Axes, grey: np.ndarray, size_um: np.ndarray, voxel_um: np.ndarray) -> None:
    """The centre of voxel 0 lies at 0 um, so the picture begins half a voxel before it."""
    (left, top), (right, bottom) = corners = -voxel_um / 2, size_um - voxel_um / 2
    _show_grey(panel, grey, *corners)
    panel.set_xlim(left, right)
    panel.set_ylim(bottom, top)


def _show_grey(panel: Axes, grey: np.ndarray, first_um: np.ndarray, last_um: np.ndarray) -> None:
    """Grey values in [0, 1] between two corners (right, down). White is kept for marks: the brightest is light grey."""
    extent = (first_um[0], last_um[0], last_um[1], first_um[1])
    panel.imshow(grey, cmap="gray", vmin=0, vmax=1.25, extent=extent, aspect="auto")


def _show_part(
    panel: Axes, projection: np.ndarray, voxel_um: np.ndarray, low: np.ndarray, high: np.ndarray
) -> None:
    """What a (y, x) projection has between two corners in um (x, y); nothing where they lie beside it."""
    size = projection.shape[::-1]
    first, last = (np.clip(np.rint(corner / voxel_um).astype(int), 0, size) for corner in (low, high))
    part = projection[first[1] : last[1], first[0] : last[0]]
    if part.size:
        _show_grey(panel, tone(pool(part)), (first - 0.5) * voxel_um, (last - 0.5) * voxel_um)


def scale_strip(figure: Figure, scale: float, width_um: float) -> Axes:
    """The strip of LEGEND inches at the foot of a figure, with a scale bar at its left; scale: inches a um."""
    bar = scale_bar_um(width_um)
    full_width, full_height = figure.get_size_inches()
    strip = figure.add_axes((0, 0, 1, LEGEND / full_height))
    strip.set_xlim(0, full_width)
    strip.set_ylim(0, LEGEND)
    strip.set_axis_off()
    strip.plot([0.1, 0.1 + bar * scale], [0.2, 0.2], color=INK, linewidth=3, solid_capstyle="butt")
    strip.text(0.1, 0.28, f"{bar:g} µm", color=INK, fontsize=8)
    return strip


def _legend(figure: Figure, scale: float, width_um: float, layers) -> None:
    """A scale bar at the left of the lower strip, the names of the lines at the right."""
    strip = scale_strip(figure, scale, width_um)
    handles = [Line2D([], [], **style) for _, style in layers]
    strip.legend(
        handles=handles, loc="center right", ncols=len(handles), frameon=False, labelcolor=INK, fontsize=8
    )
