"""ablation_score: weights of train_em against the labels that they did not see."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline import config
from pipeline.config.ablation import PRETRAINED, SCRATCH
from pipeline.errors import InputError
from pipeline.files import format_table, write_text

if TYPE_CHECKING:
    from pipeline.network.model import Network
    from pipeline.training.affinities import Volume


def run(
    sheet: Path, weights: Path, /, *, output: Path, betas: str = "0.3,0.5,0.7", overlap: float = 0.5
) -> None:
    """Score weights on the held-out sections of every labelled volume.

    What was trained on and which sections were held out stands in the weights' header. The beta of the multicut is
    the best one on sections that were trained on. Labels are split into pieces first, label 0 is not scored.

    Args:
        sheet: the training sheet.
        weights: made of it by train_em, with a validation_share.
        output: TSV, a row for each volume with and without restriction to the foreground.
        betas: to choose from, joined by commas.
        overlap: of neighbouring windows, a fraction of a side.
    """
    from pipeline.network import model
    from pipeline.training import electron
    from pipeline.training.sheet import read_sheet

    network = model.load(weights)
    trained = config.load({"train_em": network.contract.card["settings"]}).train_em
    kept = 1 - trained.validation_share
    rows = [row for row in read_sheet(sheet) if row.has_reference]
    volumes = {row.sample: electron.load(row, membrane=False) for row in rows}
    seen = [row.sample for row in rows if not row.is_one_of(trained.validation)]
    # As many sections to choose beta on as to test on, the last that were trained on.
    known = (max(0.0, kept * trained.label_share - trained.validation_share), kept * trained.label_share)
    chosen = [_predict(network, electron.part(volumes[name], *known), overlap) for name in seen]
    tested = {
        name: _predict(network, electron.part(each, kept, 1), overlap) for name, each in volumes.items()
    }
    table = []
    for restricted in (True, False):
        beta = min(
            map(float, betas.split(",")),
            key=lambda beta: sum(_scores(*each, beta=beta, restricted=restricted)["vi"] for each in chosen),
        )
        for name, each in tested.items():
            found = _scores(*each, beta=beta, restricted=restricted)
            about = {"trained_on": ",".join(seen), "tested_on": name, "seen": name in seen}
            table.append({**about, **_kind(trained), "restricted": restricted, "beta": beta, **found})
    write_text(output, format_table(table))


def _kind(trained: config.TrainEm) -> dict[str, object]:
    """The kind of a training, as columns."""
    mixed = [name for name, share in _mixings(trained) if share]
    return {
        "start": PRETRAINED if trained.start else SCRATCH,
        "mixing": {0: "none", 1: "".join(mixed), 2: "both"}[len(mixed)],
        "labels": trained.label_share,
        "steps": trained.steps,
        "seed": trained.seed,
    }


def _mixings(trained: config.TrainEm) -> Iterator[tuple[str, float]]:
    yield "frequency", trained.mix_frequency
    yield "spatial", trained.cut_mix


def _predict(network: "Network", volume: "Volume", overlap: float) -> tuple[dict[str, np.ndarray], "Volume"]:
    """Channels (z, y, x) uint8 of a volume, and the volume."""
    from pipeline import blocks

    about = network.contract
    grid = about.grid(volume.image.shape, overlap=overlap)
    block = blocks.whole(grid)
    grey = blocks.read_clamped(volume.image, grid.reach(block)).astype(np.float32) / 255
    found = network.predict(grey, block, grid)
    return dict(zip(about.channels, np.rint(found * 255).astype(np.uint8))), volume


def _scores(
    prediction: dict[str, np.ndarray], volume: "Volume", *, beta: float, restricted: bool
) -> dict[str, float]:
    from pipeline import instances
    from pipeline.metrics import labels
    from pipeline.metrics.cells import in_pieces

    standard = config.Agglomerate()
    cells = instances.segment(
        prediction,
        volume.voxel_size,
        beta=beta,
        cutting=instances.Cutting(threshold=standard.threshold, seed_sigma=standard.seed_sigma),
        min_foreground=standard.min_foreground if restricted else 0.0,
        restrict=restricted,
    )
    found = labels.scores(cells, in_pieces(volume.labels))
    split, merge, are = (found[name] for name in ("vi_split", "vi_merge", "are_skimage"))
    if not (isinstance(split, float) and isinstance(merge, float) and isinstance(are, float)):
        raise InputError(volume.name, "sections to score without a label", "a volume labelled to its end")
    return {"vi": split + merge, "vi_split": split, "vi_merge": merge, "are": are}
