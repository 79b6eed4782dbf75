"""train: a network's weights from ingested images with references, voxel labels and simulated neurons."""

import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from cyclopts import Parameter

from pipeline import __version__, config, images, intensity, swc, volume
from pipeline.config.train import Train
from pipeline.dataset import is_tree
from pipeline.errors import InputError
from pipeline.files import write_text
from pipeline.images.source import sizes
from pipeline.training import sheet
from pipeline.training.sheet import Row

if TYPE_CHECKING:
    from pipeline.network.slices import Architecture, SliceSegmenter
    from pipeline.training.material import Counts
    from pipeline.training.pairs import Pair
    from pipeline.training.slices import SliceTask

# The rule of grey that a new training learns (intensity.LEVELS).
LEVELS = "share 1"
# Batches of steps beyond this are never trained on.
UNSEEN = 10**6


def run(
    sheets: list[Path],
    /,
    *,
    output: Path,
    device: Annotated[str, Parameter(env_var="STACK2SWC_TRAIN_DEVICE")] = "auto",
    workers: Annotated[int, Parameter(env_var="STACK2SWC_TRAIN_WORKERS")] = 1,
    settings: Train = Train(),
) -> None:
    """Train the network. Killed, it goes on from its last checkpoint (beside the output, `.checkpoint`).

    Memory does not grow with the images: the truth of large ones is made slab by slab and lies on disk meanwhile.

    Args:
        sheets: TSV with columns sample, image (OME-Zarr made by ingest), reference (SWC, or an image of voxel
            labels), reference_unit; the workflow writes one as trained/lm.samples.tsv of its results.
        output: the weights (safetensors); beside them the log (.tsv, one line a step) and the model card (.md).
        device: auto (a GPU where there is one), cpu or cuda.
        workers: processes that make windows beside the training.
    """
    from pipeline.network import model, weights
    from pipeline.training import loop

    device = model.choose_device(device)
    work = output.with_name(f".{output.stem}.truth")
    taught = _taught([*sheets, *map(Path, settings.more_samples.split())], settings)
    network, task = _begin(taught, settings, work)
    network = network.to(device)
    log = output.with_suffix(".tsv")
    checkpoint = output.with_name(f".{output.stem}.checkpoint")
    averaged = loop.fit(
        network,
        task,
        steps=settings.steps,
        checkpoint=checkpoint,
        log=log,
        digest=_digest(settings, taught),
        validate_every=settings.validate_every,
        workers=workers,
        bf16=model.choose_precision(settings.precision, device) == "bf16",
    )
    _tell_tubes(averaged, task)
    told = sheet.names_only(settings, "start", "more_samples")
    write_text(
        output.with_suffix(".md"), write_card(told, network.architecture, [row.sample for row in taught], log)
    )
    voxel_um = _voxel_range(taught)
    card: dict[str, object] = {"version": __version__, "settings": told.model_dump()}
    weights.save(output, averaged, levels=LEVELS, voxel_um=voxel_um, card=card)
    checkpoint.unlink(missing_ok=True)
    shutil.rmtree(work, ignore_errors=True)


def _taught(sheets: list[Path], settings: Train) -> list[Row]:
    """The rows of all sheets that are trained on; tells of each."""
    rows = [row for path in sheets for row in sheet.read_sheet(path)]
    taught = [row for row in rows if not row.is_one_of(settings.validation)]
    if not taught and not settings.simulated:
        raise InputError(sheets[0], "no sample with a reference, none simulated", "one at least")
    for row in rows:
        print(f"{row.sample}: {'trained on' if row in taught else 'left out'}", flush=True)
    return taught


def _begin(taught: list[Row], settings: Train, work: Path) -> "tuple[SliceSegmenter, SliceTask]":
    """The network before its training, and what it is to learn; what is too large for memory goes below `work`."""
    from pipeline.network import weights
    from pipeline.network.slices import Architecture
    from pipeline.training.material import gather
    from pipeline.training.slices import SliceTask

    material = gather(
        [_load_pair(row, work, scatter=settings.scatter) for row in taught],
        remade=settings.remade if taught else 0,
        scenes=settings.simulated,
        empty_share=settings.empty_share,
        seed=settings.seed,
    )
    start = Path(settings.start) if settings.start else None
    wanted = Architecture(depth=settings.depth, tile=settings.window, norm=settings.norm)
    network = weights.start_slices(start, wanted, transfer=settings.transfer, seed=settings.seed)
    task = SliceTask(
        material,
        simulated_share=settings.simulated_share,
        batch=settings.batch,
        depth=network.architecture.depth,
        tile=network.architecture.tile,
        seed=settings.seed,
        encoder_rate=settings.encoder_rate,
        decoder_rate=settings.decoder_rate,
        layer_decay=settings.layer_decay,
    )
    return _with_norm(network, settings.norm, task), task


def _with_norm(network: "SliceSegmenter", norm: str, task: "SliceTask") -> "SliceSegmenter":
    """The network with the norm that is asked for: out of GroupNorm its mean statistics are folded into the weights."""
    import torch

    from pipeline.network.fold import without_norm

    if network.architecture.norm == norm:
        return network
    if norm != "none":
        raise InputError("train.norm", f"{norm}, but the start has none", "none")
    # Of windows that no step of the training sees.
    windows = torch.cat([task.batch(UNSEEN + number)[0] for number in range(8)])
    return without_norm(network, windows).train()


def _tell_tubes(network: "SliceSegmenter", task: "SliceTask") -> None:
    """Print how much the tubes of a network have come to say, and how far they bend, where it has any."""
    from pipeline.network import tubular

    embed = network.encoder.patch_embed
    if isinstance(embed, tubular.TubularEmbed):
        window = task.batch(UNSEEN)[0].to(embed.gamma.device)
        for name, views in tubular.describe(embed, window).items():
            print(f"tubes along z, y, x: {name} {', '.join(f'{value:.4g}' for value in views)}", flush=True)


def _load_pair(row: Row, work: Path, *, scatter: int) -> "tuple[Pair, Counts]":
    from pipeline.training import pairs, store
    from pipeline.training.material import Counts

    image, level = volume.open_volume(row.image), volume.read_levels(row.image)

    def light(first: int, last: int) -> np.ndarray:
        box = [(first, last), *((0, size) for size in image.shape[1:])]
        return intensity.light(image.array[first:last], level, box)

    if is_tree(row.reference):
        tree = swc.read(row.reference, unit=row.reference_unit, voxel_size=image.voxel_size)

        def make(first: int, last: int) -> "Pair":
            moved = swc.Tree(
                tree.xyz - [0, 0, first * image.voxel_size[0]], tree.radius, tree.parent, tree.type
            )
            return pairs.from_tree(
                row.sample,
                light(first, last),
                [moved],
                image.voxel_size,
                complete=False,
                scatter=scatter,
                level=level,
            )
    else:
        labels = images.open_image(row.reference)
        if labels.shape != image.shape or labels.dtype.kind not in "ui":
            found = f"{labels.dtype}, {sizes(labels.shape)} voxels"
            raise InputError(
                row.reference, found, f"whole numbers, {sizes(image.shape)} voxels as {row.image}"
            )

        def make(first: int, last: int) -> "Pair":
            seen = labels.array[first:last]
            return pairs.from_labels(row.sample, light(first, last), seen, level=level)

    return store.in_slabs(row.sample, image.shape, make, folder=work), Counts(image.array)


def _voxel_range(rows: list[Row]) -> tuple:
    """Smallest and largest voxel (z, y, x um) of what was trained on, simulations of any kind included."""
    from pipeline.simulation.scene import VOXEL_UM

    found = np.array([*VOXEL_UM, *(volume.open_volume(row.image).voxel_size for row in rows)])
    return tuple(map(float, found.min(0))), tuple(map(float, found.max(0)))


def _digest(settings: Train, rows: list[Row]) -> str:
    """Of everything that decides what is learnt: a checkpoint of anything else is of another training."""
    seen = [
        (row.sample, volume.open_volume(row.image).attributes["sha256"], sheet.file_digest(row.reference))
        for row in rows
    ]
    start = sheet.file_digest(Path(settings.start)) if settings.start else ""
    return hashlib.sha256(repr((__version__, settings, start, seen)).encode()).hexdigest()


def write_card(settings: Train, architecture: "Architecture", names: list[str], log: Path) -> str:
    """The model card: what the weights are, what they saw, how well they do on what they did not see."""
    steps = log.read_text(encoding="utf-8").splitlines()[1:]
    score = [line.split("\t")[4] for line in steps if line.split("\t")[4]]
    depth, edge, _ = architecture.window
    lines = [
        "# Model card",
        "",
        "Slice segmenter of stack2swc (light microscopy): a 3D vision transformer that reads "
        f"{depth} slices of {edge} x {edge} pixels and tells for each pixel of the "
        "middle one how probably it is neurite.",
        "",
        f"- start: {settings.start or 'random'}, transfer: {settings.transfer}",
        f"- trained on three quarters of: {', '.join(names) or 'nothing'}; {settings.remade} parts of them remade",
        f"- simulated scenes: {settings.simulated}, {settings.simulated_share:.0%} of the windows",
        f"- input: {LEVELS}, light above the background, square root of its share of that of the brightest voxels",
        f"- steps: {len(steps)} of {settings.batch} windows, seed {settings.seed}, weights averaged over steps",
        "- score of what was kept back (Dice of the images' other quarters and of scenes, less ten times the share of "
        f"noise taken for neurite), last step: {score[-1] if score else 'none'}",
        f"- settings: `{config.options(settings)}`",
        "",
    ]
    return "\n".join(lines)
