"""Traced neurons and their files: a tree, what speaks for each of its edges, and the table of all in an image."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline import swc
from pipeline.files import format_table, whole, write_text
from pipeline.swc import Tree

COLUMNS = (
    "id",
    "root_x",
    "root_y",
    "root_z",
    "soma",
    "length_um",
    "branches",
    "tips",
    "confidence",
    "traced",
)
# Mean confidence (by cable) below which an image's trees are a warning: that of OP_1 to OP_8 is .992 to 1.000, that of
# frog_245, a fifth of whose cable is wrong, .94.
SURE = 0.95


@dataclass(frozen=True, eq=False)
class Neuron:
    """A traced tree (um, root first, parents before children) and what speaks for each of its edges.

    probability: (n,) float, of neurite, mean along the edge to the parent, 0..1 (of a root: at the node). link_cost:
    (n,) um, the cost of the link that the edge lies in (see tracing.bridge), NaN where it lies in foreground.
    confidence: (n,) 0..1, how probable it is that the edge is right (see tracing.confidence).
    """

    tree: Tree
    probability: np.ndarray
    link_cost: np.ndarray
    confidence: np.ndarray


def of_tree(tree: Tree, probability: np.ndarray) -> Neuron:
    """A neuron whose edges all lie in foreground, as sure as they are probable."""
    return Neuron(tree, probability, np.full(len(tree), np.nan), probability)


NOTHING = of_tree(swc.EMPTY, np.zeros(0))


def write_one(path: Path, neuron: Neuron, header: dict[str, str]) -> None:
    """{path}: the tree. {path without .swc}.confidence.tsv: id, probability, link_cost, confidence of its nodes."""
    rows: list[dict[str, object]] = [
        {
            "id": row + 1,
            "probability": round(float(certain), 4),
            "link_cost": float(np.round(cost, 4)),
            "confidence": round(float(sure), 4),
        }
        for row, (certain, cost, sure) in enumerate(
            zip(neuron.probability, neuron.link_cost, neuron.confidence)
        )
    ]
    text = format_table(rows) if rows else "id\tprobability\tlink_cost\tconfidence\n"
    write_text(confidence_path(path), text)
    swc.write(path, neuron.tree, header=header)


def write_all(folder: Path, neurons: dict[str, Neuron], header: dict[str, str]) -> None:
    """{folder}/{id}.swc and its confidence for each neuron; the folder is whole or absent."""
    with whole(folder) as private:
        private.mkdir()
        for name, neuron in neurons.items():
            write_one(private / f"{name}.swc", neuron, header)


def write_table(path: Path, neurons: dict[str, Neuron], *, left_out_um: list[float] | None = None) -> None:
    """One row a neuron, in the order given (see COLUMNS; lengths and places in um).

    left_out_um: cable of further trees that were seen and not traced: a row each, traced 0, with its length alone.
    """
    rows = [_row(name, neuron) for name, neuron in neurons.items()]
    rows += [{"id": "", "length_um": length, "traced": 0} for length in left_out_um or ()]
    write_text(path, format_table(rows) if rows else "\t".join(COLUMNS) + "\n")


def doubts(table: Path) -> list[str]:
    """What a table says against its trees, one short sentence each: trees left out, a mean confidence below SURE."""
    with open(table, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    told = []
    if left_out := [float(row["length_um"]) for row in rows if row["traced"] == "0"]:
        told.append(f"{len(left_out)} more trees left out, the longest of {left_out[0]:.0f} um")
    traced = [
        (float(row["length_um"]), float(row["confidence"]))
        for row in rows
        if row["traced"] == "1" and row["confidence"]
    ]
    whole = sum(length for length, _ in traced)
    doubtful = sum(length * (1 - sure) for length, sure in traced)
    if doubtful > (1 - SURE) * whole:
        told.append(f"{doubtful:.0f} of {whole:.0f} um are doubtful")
    return told


def confidence_path(tree: Path) -> Path:
    """Where the confidence of a tree lies."""
    return tree.with_suffix(".confidence.tsv")


def read_confidence(tree: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """(confidence, link_cost), (n,) each by id, of a tree that `write_one` wrote; None without a file."""
    path = confidence_path(tree)
    if not path.exists():
        return None
    table = np.genfromtxt(path, delimiter="\t", skip_header=1, ndmin=2, usecols=(3, 2))
    return (table[:, 0], table[:, 1]) if table.size else (np.zeros(0), np.zeros(0))


def _row(name: str, neuron: Neuron) -> dict[str, object]:
    tree = neuron.tree
    degree = np.bincount(tree.parent[tree.parent >= 0], minlength=len(tree)) + (tree.parent >= 0)
    length = swc.edge_lengths(tree)
    x, y, z = np.round(tree.xyz[0], 4)
    weight = length if length.any() else np.ones(len(tree))
    values = (
        name,
        *(float(place) for place in (x, y, z)),
        int(tree.type[0] == swc.SOMA),
        float(length.sum()),
        int((degree > 2).sum()),
        int((degree == 1).sum()),
        float(np.average(neuron.confidence, weights=weight)),
        1,
    )
    return dict(zip(COLUMNS, values))
