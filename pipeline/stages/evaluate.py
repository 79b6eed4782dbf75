"""evaluate: trees against references, or the cells of a label volume against labels and skeletons."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from pipeline import config, neurons, scoring, swc
from pipeline.errors import FileWarning, InputError
from pipeline.files import format_table, write_json, write_text

Triple = tuple[float, float, float]
# Of what made the prediction: into metrics.json, so that a result can be made again.
PROVENANCE = ("version", "weights_sha256", "torch", "device", "arithmetic", "views")
CELLS = {"cell_tolerance_um", "cell_min_length_um"}  # settings of label volumes alone
FAMILIES = {"topology", "nblast"}  # settings that ask for scores; the others belong into the table


def run(
    *,
    prediction: Path,
    output: Path,
    reference: Annotated[list[Path] | None, Parameter(negative="", consume_multiple=True)] = None,
    unit: str = "um",
    prediction_unit: str = "",
    voxel_size: str = "",
    shape: str = "",
    image: Path | None = None,
    table: Path | None = None,
    matched: bool = False,
    trees: Path | None = None,
    skeletons: Path | None = None,
    settings: config.Evaluate = config.Evaluate(),
) -> None:
    """Measure trees or labels, against a reference where there is one.

    Prints a table and writes flat JSON: docs/metrics.md defines every name. What is undefined is null there, with
    the reason beside it. A prediction without nodes is a failed one: recall and F1 are 0.

    Args:
        prediction: SWC, or a folder of them (every .swc and .eswc below it); or a label volume: TIFF,
            OME-Zarr, file.h5:/dataset.
        output: JSON to write; with folders a TSV, one row a file.
        reference: SWC of the same neuron. Several of them: mean and range. When prediction is a folder: a folder
            too, files of the same relative path belong together, or one file, which every tree is scored against.
            None: only the figures of the tree. When prediction is a label volume: one too, of the same shape.
        unit: of both files: voxel | um | nm.
        prediction_unit: of the prediction when it differs.
        voxel_size: z,y,x in um; needed where a unit is voxel. With 1,1,1 the ESA figures are Vaa3D's own.
        shape: z,y,x in voxels: a reference of which less than half lies in an image of this size is an error.
        image: OME-Zarr of any stage: says voxel size and shape where they are not given, and what made it.
        table: made by trace: trees that it left out, or that are not sure, are a warning.
        matched: the folder `prediction` holds the trees of one image: the one that covers most of the reference is
            scored; without a reference all are measured together.
        trees: of a label volume: folder of {label}.swc in um.
        skeletons: of a label volume: reference SWC files of some neurons, below a folder, or one.
    """
    references = reference or []
    size, extent = config.parse_triple("--voxel-size", voxel_size), config.parse_triple("--shape", shape)
    made: dict[str, Any] = {}
    doubts: list[str] = []
    if image:
        size, extent, made, doubts = _from_image(image, size, extent)
    if scoring.is_labels(prediction):
        scores = _of_labels(
            prediction,
            references,
            settings=settings,
            trees=trees,
            skeletons=skeletons,
            unit=unit,
            voxel_size=size,
        )
    else:
        terms = _terms(unit, prediction_unit or unit, size, extent, settings)
        if prediction.is_dir() and not matched:
            rows = _score_folder(prediction, references, terms, doubts)
            write_text(output, format_table(rows))
            print(f"{output}: {len(rows)} trees")
            return
        scores = (_score_matched if matched else _score_file)(prediction, references, terms, doubts)
        if not scores["nodes"]:
            doubts.append("no neurite found")
        doubts += neurons.doubts(table) if table else []
    _write(output, scores | made | ({"warnings": "; ".join(doubts)} if image else {}))


@dataclass(frozen=True)
class Terms:
    """On which terms trees are compared: units, voxel size (um) and shape (z, y, x) of their image, settings."""

    unit: str
    prediction_unit: str
    size: Triple
    shape: Triple | None
    settings: config.Evaluate


def _terms(
    unit: str, prediction_unit: str, size: Triple | None, shape: Triple | None, settings: config.Evaluate
) -> Terms:
    """InputError where coordinates in voxels, or a shape, come without a voxel size."""
    if size is None and ("voxel" in (unit, prediction_unit) or shape):
        raise InputError("--voxel-size", "not given", "z,y,x in um, e.g. 1.0,0.33,0.33 (1,1,1: keep voxels)")
    return Terms(unit, prediction_unit, size or (1.0, 1.0, 1.0), shape, settings)


def _from_image(
    image: Path, size: Triple | None, extent: Triple | None
) -> tuple[Triple, Triple, dict[str, Any], list[str]]:
    """Voxel size and shape, the image's own where they are not given; what made it, and what it warned of."""
    from pipeline import volume

    source = volume.open_volume(image)
    network = source.attributes.get("network", {})
    made = {name: network.get(name) for name in PROVENANCE}
    doubts = [*source.attributes.get("warnings", ()), *network.get("warnings", ())]
    return size or source.voxel_size, extent or source.shape, made, doubts


def _of_labels(
    prediction: Path, references: list[Path], *, settings: config.Evaluate, **given: Any
) -> dict[str, object]:
    """All scores of a label volume (scoring.cells)."""
    if len(references) > 1:
        raise InputError("--reference", f"found {len(references)}", "one label volume")
    return scoring.cells(
        prediction,
        reference=references[0] if references else None,
        tolerance_um=settings.cell_tolerance_um,
        min_length_um=settings.cell_min_length_um,
        **given,
    )


def _write(output: Path, scores: dict[str, Any]) -> None:
    """The JSON, and the table on the screen."""
    write_json(output, scores)
    for name, value in scores.items():
        if not name.endswith("_reason"):
            print(f"{name:24}{_show(value)}{_because(scores, name)}")


def _score(
    tree: swc.Tree, references: list[Path], terms: Terms, doubts: list[str], *, empty: bool = False
) -> dict[str, object]:
    """All scores of a tree. empty: a reference without rows is an empty tree, not an error.

    doubts: what is said of the references is added.
    """
    from pipeline.metrics import compare

    measured = compare.Measured(tree)
    wanted = []
    for path in references:
        reference = _read(path, doubts, unit=terms.unit, voxel_size=terms.size, empty=empty)
        if terms.shape and len(reference):
            scoring.require_inside(path, swc.um_to_voxel(reference.xyz, terms.size), terms.shape)
        wanted.append(compare.Measured(reference))

    units = {terms.unit, terms.prediction_unit}
    # size[0] is the distance of the planes where coordinates were voxels.
    asked = {
        **terms.settings.model_dump(exclude=CELLS),
        "plane_um": terms.size[0] if "voxel" in units else 0.0,
    }
    scores: dict[str, object] = {}
    if not wanted:
        scores |= compare.without_reference(**asked)
    elif len(wanted) == 1:
        scores |= compare.compare(measured, wanted[0], **asked)
        scores |= compare.describe(wanted[0], suffix="_reference")
    else:
        scores |= compare.over_references(measured, wanted, **asked)
        scores["references"] = len(wanted)
    scores |= compare.describe(measured)
    # Coordinates stay what they are when voxels are "scaled" by 1,1,1; otherwise everything is um by now.
    as_written = units == {"voxel"} and terms.size == (1.0, 1.0, 1.0)
    return {
        **scores,
        "esa_unit": "voxel" if as_written else "um",
        **terms.settings.model_dump(exclude=FAMILIES | CELLS),
    }


def _score_file(
    prediction: Path, references: list[Path], terms: Terms, doubts: list[str]
) -> dict[str, object]:
    """All scores of the tree of a file."""
    tree = _read(prediction, doubts, unit=terms.prediction_unit, voxel_size=terms.size, empty=True)
    return _score(tree, references, terms, doubts)


def _score_matched(
    folder: Path, references: list[Path], terms: Terms, doubts: list[str]
) -> dict[str, object]:
    """All scores of the tree of a folder that is the reference's own, its name, and how many there are."""
    name, tree, count = _matched(folder, references, terms)
    return {"tree": name, "neurons": count, **_score(tree, references, terms, doubts)}


def _read(path: Path, doubts: list[str], **options: Any) -> swc.Tree:
    """A tree; what the reader says of the file goes to stderr, as always, and to `doubts`."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FileWarning)
        tree = swc.read(path, **options)
    for one in caught:
        if issubclass(one.category, FileWarning):  # not, say, that Python has found a file left open
            doubts.append(str(one.message))
        warnings.warn(one.message, stacklevel=2)
    return tree


def _matched(folder: Path, references: list[Path], terms: Terms) -> tuple[str, swc.Tree, int]:
    """Name and tree of a folder that cover most of the first reference (all without one), and how many there are."""
    from pipeline.metrics import compare

    trees = {path.stem: swc.read(path, empty=True) for path in swc.below(folder, deep=False)}
    if not trees:
        return "", swc.EMPTY, 0
    if not references:
        return "all", swc.joined(list(trees.values())), len(trees)
    wanted = compare.Measured(swc.read(references[0], unit=terms.unit, voxel_size=terms.size))
    found = {
        name: compare.found_length(compare.Measured(tree), wanted, tolerance_um=terms.settings.tolerance_um)
        for name, tree in trees.items()
    }
    best = max(found, key=lambda name: found[name])
    return best, trees[best], len(trees)


def _score_folder(
    prediction: Path, references: list[Path], terms: Terms, doubts: list[str]
) -> list[dict[str, object]]:
    """One row a tree, in the order of the paths; a missing or broken prediction is a failed one.

    Of a folder of references one without rows has scores by their definition: it must not take the others with it. The
    only one of all rows is an error, as it is for a single tree.
    """
    if len(references) != 1 or not references[0].exists():
        found = ", ".join(map(str, references)) or "none"
        allowed = f"one folder or one file, as --prediction {prediction} is a folder"
        raise InputError("--reference", f"found {found}", allowed)
    # Files belong together by their path without suffix: a.swc and a.SWC, or a.eswc.
    trees = {_stem(path, prediction): path for path in swc.below(prediction)}
    expected = dict.fromkeys(trees, references[0])
    if references[0].is_dir():
        expected = {_stem(path, references[0]): path for path in swc.below(references[0])}
    if not expected:
        empty = references[0] if references[0].is_dir() else prediction
        raise InputError(empty, "no .swc file below it", "a folder of trees")
    if strangers := sorted(set(trees) - set(expected)):
        wanted = f"a file {references[0] / strangers[0]}.swc"
        raise InputError(trees[strangers[0]], "has no reference", wanted)
    rows = []
    for name, path in expected.items():
        tree, reason = swc.EMPTY, ""
        try:
            file = trees.get(name, prediction / f"{name}.swc")
            tree = swc.read(file, unit=terms.prediction_unit, voxel_size=terms.size, empty=True)
        except InputError as error:
            reason = str(error)
        scores = _score(tree, [path], terms, doubts, empty=references[0].is_dir())
        scores = {key: value for key, value in scores.items() if not key.endswith("_reason")}
        rows.append({"tree": f"{name}.swc", "reason": reason, **scores})
    return rows


def _stem(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _show(value: object) -> str:
    if isinstance(value, float):
        return "undefined" if value != value else f"{value:.6g}"
    return str(value)


def _because(scores: dict[str, object], name: str) -> str:
    reason = scores.get(f"{name}_reason")
    return f" ({reason})" if reason else ""
