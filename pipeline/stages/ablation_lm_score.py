"""ablation_lm_score: weights of train against the trees of images that they did not see."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from cyclopts import Parameter

from pipeline import blocks, config, intensity, swc, volume
from pipeline.config import parse_triple
from pipeline.errors import InputError
from pipeline.files import format_table, write_text

if TYPE_CHECKING:
    from pipeline.network.model import Network
    from pipeline.tracing.field import Field
    from pipeline.training.sheet import Row

TOLERANCE_UM = 1.5


def run(
    sheet: Path,
    weights: Path,
    /,
    *,
    output: Path,
    tested: str,
    kind: str = "",
    root: Annotated[list[str] | None, Parameter(negative="", consume_multiple=True)] = None,
    overlap: float = 0.25,
    precision: Literal["auto", "fp32", "bf16"] = "auto",
) -> None:
    """Score weights on whole images, and the trees traced from them.

    Masks: the probability above a half against the tubes of the reference, where it is known what is neurite. Trees:
    those of segment and trace at their defaults.

    Args:
        sheet: the training sheet.
        weights: made of it by train, without the samples that are scored; its log lies beside it.
        output: TSV, a row for each sample that is scored.
        tested: their names (patterns with *, separated by spaces).
        kind: what to write into each row of the training: name=value,...
        root: NAME=x,y,z in voxels of samples whose tree is known to start there.
        overlap: of neighbouring windows, a fraction of a side.
        precision: arithmetic of the network; auto: bf16 where the hardware multiplies it, else fp32.
    """
    from pipeline.network import model
    from pipeline.tracing.field import Field
    from pipeline.training.sheet import read_sheet

    network = model.load(weights, precision=precision, views=config.Config().infer.views)
    rows = [
        row for row in read_sheet(sheet) if row.is_one_of(tested) and row.reference.suffix.lower() == ".swc"
    ]
    if not rows:
        raise InputError(sheet, f"no sample with a tree is one of {tested!r}", "one at least")
    told = dict(part.split("=", 1) for part in kind.split(",") if part)
    roots = dict(text.rsplit("=", 1) for text in root or [])
    told["parameters"] = str(sum(parameter.numel() for parameter in network.module.parameters()))
    told["seconds"] = _seconds(weights.with_suffix(".tsv"))
    table = []
    for row in rows:
        image = volume.open_volume(row.image)
        tree = swc.read(row.reference, unit=row.reference_unit, voxel_size=image.voxel_size)
        found = predict(network, row, overlap)
        scores = mask_scores(row, found, tree, image.voxel_size)
        field = Field(found, image.voxel_size, volume.read_light(row.image, shape=image.shape))
        scores |= tree_scores(field, tree, roots.get(row.sample, ""))
        table.append({**told, "tested_on": row.sample, **scores})
    write_text(output, format_table(table))


def _seconds(log: Path) -> str:
    """How long a training took, of its log's last line."""
    return log.read_text(encoding="utf-8").splitlines()[-1].split("\t")[3]


def predict(network: "Network", row: "Row", overlap: float) -> np.ndarray:
    """Probability of neurite, uint8 (z, y, x), of every window of an image."""
    image, level = volume.open_volume(row.image), volume.read_levels(row.image)
    grid = network.contract.grid(image.shape, overlap=overlap)
    plan = blocks.make_plan(np.ones(grid.counts, bool), grid, plane=2**31, voxels=1)  # a slice at a time
    return np.concatenate([_planes(network, image, level, block, grid) for block in plan.blocks])


def _planes(network: "Network", image: Any, level: intensity.Levels, block: blocks.Block, grid: blocks.Grid):
    box = grid.reach(block)
    grey = intensity.grey(blocks.read_clamped(image.array, box), level, box, rule=network.contract.levels)
    return np.rint(network.predict(grey, block, grid)[0] * 255).astype(np.uint8)


def mask_scores(
    row: "Row", found: np.ndarray, tree: swc.Tree, voxel_size: tuple[float, float, float]
) -> dict:
    """Dice of the foreground, class-mean Dice and HD95 (um, pooled) where it is known what is neurite.

    The rim beside a neurite is left out of the Dice, as in the training's loss.
    """
    from pipeline.metrics import masks
    from pipeline.training import pairs

    image = volume.open_volume(row.image)
    light = intensity.light(image.array[:], volume.read_levels(row.image))
    pair = pairs.from_tree(row.sample, light, [tree], voxel_size, complete=False)
    truth, mask = pair.distance <= 0, found > 127
    known = pair.counts & (truth | (pair.distance > pairs.RIM))
    scores = masks.dice_scores(mask[known], truth[known])
    near = masks.surface_scores(
        mask & pair.counts, truth & pair.counts, voxel_size=voxel_size, tolerance_um=1.0
    )
    named = {"dice": scores["dice"], "dice_class_mean": scores["dice_class_mean"], "hd95_um": near["hd95"]}
    return {name: float(value) for name, value in named.items()}


def tree_scores(field: "Field", tree: swc.Tree, root: str) -> dict[str, float]:
    """F1 of length at TOLERANCE_UM and ESA (um) of what segment and trace make of the probability."""
    from pipeline.metrics.compare import Measured, compare
    from pipeline.tracing import neuron
    from pipeline.tracing.segment import components

    standard = config.Config()
    root_xyz = parse_triple("--root", root, positive=False)
    traced = neuron.trace(
        components(field.probability, field.voxel_size, standard.segment, light=field.light),
        field,
        standard.trace,
        root_zyx=root_xyz and root_xyz[::-1],
    )
    best = traced.neurons[0].tree if traced.neurons else swc.EMPTY
    scores = compare(Measured(best), Measured(tree), tolerance_um=TOLERANCE_UM, topology=False)
    # A network that sees nothing has found nothing.
    return {"f1": float(np.nan_to_num(scores["f1"])), "esa_um": float(scores["esa"])}
