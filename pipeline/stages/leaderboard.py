"""leaderboard: the scores of many tracers on many neurons to one page and one table."""

import base64
import csv
import html
import io
import json
import math
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import __version__, swc
from pipeline.benchmark import gold
from pipeline.errors import InputError
from pipeline.files import format_table, write_text

if TYPE_CHECKING:
    from pipeline.benchmark.standings import Metric

OURS = "stack2swc"
ALL = "all"
BEST = 3
DIGITS = 5


def run(dataset: Path, scores: Path, page: Path, table: Path, *, own: Path | None = None) -> None:
    """Rank tracers over many neurons on one page.

    For each metric the median, quartiles, rank with its 95 % interval by bootstrap over neurons, failures (no file, a
    broken one, or no cable) and trees whose score is undefined, over all neurons and by species; values of every
    tracer on every neuron; pictures.

    Args:
        dataset: folder of {neuron}/gold.swc and {neuron}/auto/{tracer}.swc.
        scores: folder of {neuron}/tracings.tsv, made by evaluate from the folder auto; and of {neuron}/own.json,
            the scores of a tree made by this pipeline, where there is one.
        page: HTML to write: one file that needs no network.
        table: TSV to write, the figures of the page: a row for each species, metric and tracer.
        own: folder of {neuron}/{neuron}.swc in um, the trees that own.json is about.
    """
    from pipeline.benchmark import standings

    neurons = gold.discover(dataset)
    if not neurons:
        allowed = "{neuron}/gold.swc and {neuron}/auto/{tracer}.swc"
        raise InputError(dataset, "no neuron with tracings", allowed)
    found = {neuron.name: _read_scores(scores / neuron.name) for neuron in neurons}
    tracers = sorted({name for rows in found.values() for name in rows}, key=str.casefold)
    values = {}
    for metric in standings.METRICS:
        array = standings.as_array(found, metric.name, tracers)
        if metric is standings.METRICS[0] or not np.isnan(array).all():
            values[metric] = array
    done = [[bool(rows.get(tracer)) for rows in found.values()] for tracer in tracers]
    table_rows = _standings(neurons, tracers, values, done)
    first = standings.METRICS[0]
    pictures = []
    for column, neuron in enumerate(neurons):
        best = [tracers[row] for row in standings.best(values[first][:, column], first, count=BEST)]
        pictures.append((neuron.name, neuron.species, _picture(neuron, best, found[neuron.name], own=own)))
    data = {
        "version": __version__,
        "ours": OURS,
        "metrics": [vars(metric) for metric in values],
        "tracers": tracers,
        "neurons": [{"name": neuron.name, "species": neuron.species} for neuron in neurons],
        "done": done,
        "values": {metric.name: array.tolist() for metric, array in values.items()},
        "standings": table_rows,
    }
    write_text(table, format_table(table_rows))
    write_text(page, _page(data, pictures))
    print(f"{page}: {len(tracers)} tracers on {len(neurons)} neurons, {sum(map(sum, done))} trees")


def _standings(
    neurons: list[gold.Neuron],
    tracers: list[str],
    values: "dict[Metric, np.ndarray]",
    done: list[list[bool]],
) -> list[dict[str, object]]:
    """A row for each species (all of them first), metric and tracer."""
    from pipeline.benchmark import standings

    groups = {ALL: list(range(len(neurons)))}
    for species in sorted({neuron.species for neuron in neurons} - {gold.UNKNOWN}):
        groups[species] = [row for row, neuron in enumerate(neurons) if neuron.species == species]
    rows: list[dict[str, object]] = []
    for species, columns in groups.items():
        failures = [sum(not row[column] for column in columns) for row in done]
        for metric, array in values.items():
            ranked = standings.rank(array[:, columns], metric)
            if ranked is None:
                continue
            undefined = standings.undefined_counts(array[:, columns], np.array(done)[:, columns])
            for place, tracer in enumerate(tracers):
                head = {"species": species, "metric": metric.name, "tracer": tracer}
                figures = {name: float(column[place]) for name, column in vars(ranked).items()}
                counts = {"failures": failures[place], "undefined": int(undefined[place])}
                rows.append({**head, "neurons": len(columns), **counts, **figures})
    return rows


def _read_scores(folder: Path) -> dict[str, dict[str, float]]:
    """{tracer: {metric: value}} of one neuron: every score that is a number."""
    path = folder / "tracings.tsv"
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = {row["tree"].removesuffix(".swc"): row for row in csv.DictReader(file, delimiter="\t")}
    except (OSError, KeyError) as error:
        raise InputError(path, f"not readable ({error})", "a table made by evaluate") from error
    if (own := folder / "own.json").exists():
        rows[OURS] = json.loads(own.read_text(encoding="utf-8"))
    return {tracer: _numbers(row) for tracer, row in rows.items()}


def _numbers(row: dict[str, Any]) -> dict[str, float]:
    """The scores that are numbers; none at all for a tree without cable: it is a failure."""
    numbers = {}
    for name, value in row.items():
        try:
            numbers[name] = float(f"{float(value):.6g}")  # as tables are written, so that equals tie
        except (TypeError, ValueError):
            continue
    return numbers if numbers.get("length_um", 0) > 0 else {}


def _picture(
    neuron: gold.Neuron, tracers: list[str], scores: dict[str, dict[str, float]], *, own: Path | None
) -> bytes:
    """PNG: the gold standard and the best tracings over the projection of the image."""
    import matplotlib
    import matplotlib.image

    from pipeline import picture

    size = neuron.voxel_size or (1.0, 1.0, 1.0)
    trees = {}
    for tracer in tracers:
        score = scores[tracer]
        caption = f"{tracer}   F1 {score['f1']:.3f}"
        if tracer == OURS and own:
            trees[caption] = swc.read(own / neuron.name / f"{neuron.name}.swc")
        else:
            trees[caption] = swc.read(neuron.tracings[tracer], unit=neuron.unit, voxel_size=size)
    tolerance = scores[tracers[0]]["tolerance_um"] if tracers else 1.0
    projection = matplotlib.image.imread(neuron.projection) if neuron.projection else None
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        figure = picture.benchmark(
            swc.read(neuron.gold, unit=neuron.unit, voxel_size=size),
            trees,
            projection=projection,
            voxel_size=size,
            tolerance_um=tolerance,
        )
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=80, metadata={"Software": None})
    return buffer.getvalue()


def _page(data: Mapping[str, object], pictures: list[tuple[str, str, bytes]]) -> str:
    template = resources.files("pipeline.stages").joinpath("leaderboard.html").read_text(encoding="utf-8")
    figures = "\n".join(
        f'<figure><img alt="{html.escape(name)}: gold standard and best tracings"'
        f' src="data:image/png;base64,{base64.b64encode(png).decode()}">'
        f"<figcaption>{html.escape(name)} ({html.escape(species)})</figcaption></figure>"
        for name, species, png in pictures
    )
    # "</" would end the script element that holds the data.
    text = json.dumps(_plain(data), ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
    return template.replace("__FIGURES__", figures).replace("__DATA__", text)


def _plain(value: object) -> object:
    """For JSON: rounded numbers, null for NaN, "infinite" for infinity."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return None if math.isnan(value) else "infinite" if math.isinf(value) else round(value, DIGITS)
    return value
