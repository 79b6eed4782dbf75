"""train: a network's weights from ingested images with references, voxel labels and simulated neurons."""

import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from cyclopts import Parameter

from pipeline import __version__, config, images, intensity, swc, volume
from pipeline.config.train import Train
from pipeline.errors import InputError
from pipeline.files import write_text
from pipeline.images.source import sizes
from pipeline.training import sheet
from pipeline.training.sheet import Row

if TYPE_CHECKING:
    from pipeline.network.slices import Architecture
    from pipeline.training.pairs import Pair

# The rule of grey that a new training learns (intensity.LEVELS).
LEVELS = "percentiles 1"


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
    from pipeline.network.slices import Architecture
    from pipeline.training import loop
    from pipeline.training.slices import SliceTask, shares

    device = model.choose_device(device)
    work = output.with_name(f".{output.stem}.truth")
    rows = [
        row for path in [*sheets, *map(Path, settings.more_samples.split())] for row in sheet.read_sheet(path)
    ]
    trained, held_out = _load_pairs(rows, settings, work)
    scenes = _simulate(settings)
    if not trained and not scenes:
        raise InputError(sheets[0], "no sample with a reference, none simulated", "one at least")
    start = Path(settings.start) if settings.start else None
    wanted = Architecture(depth=settings.depth, tile=settings.window)
    network = weights.start_slices(start, wanted, how=settings.inflation, seed=settings.seed).to(device)
    task = SliceTask(
        trained + scenes,
        shares(len(trained), len(scenes), simulated_share=settings.simulated_share),
        held_out=held_out,
        batch=settings.batch,
        depth=network.architecture.depth,
        tile=network.architecture.tile,
        seed=settings.seed,
        encoder_rate=settings.encoder_rate,
        decoder_rate=settings.decoder_rate,
        layer_decay=settings.layer_decay,
    )
    log = output.with_suffix(".tsv")
    checkpoint = output.with_name(f".{output.stem}.checkpoint")
    averaged = loop.fit(
        network,
        task,
        steps=settings.steps,
        checkpoint=checkpoint,
        log=log,
        digest=_digest(settings, rows),
        validate_every=settings.validate_every,
        workers=workers,
        bf16=settings.precision == "bf16" or (settings.precision == "auto" and device == "cuda"),
    )
    told = _without_folders(settings)
    write_text(
        output.with_suffix(".md"), write_card(told, network.architecture, trained, held_out, len(scenes), log)
    )
    voxel_um = _voxel_range([row for row in rows if not row.is_one_of(settings.validation)])
    card: dict[str, object] = {"version": __version__, "settings": told.model_dump()}
    weights.save(output, averaged, levels=LEVELS, voxel_um=voxel_um, card=card)
    checkpoint.unlink(missing_ok=True)
    shutil.rmtree(work, ignore_errors=True)


def _load_pairs(rows: list[Row], settings: Train, work: Path) -> tuple[list, list]:
    """Pairs to train on, and those whose name matches settings.validation."""
    trained: list = []
    held_out: list = []
    for row in rows:
        where = held_out if row.is_one_of(settings.validation) else trained
        where.append(_load_pair(row, work))
        print(f"{row.sample}: {'held out' if where is held_out else 'trained on'}", flush=True)
    return trained, held_out


def _load_pair(row: Row, work: Path) -> "Pair":
    from pipeline.training import pairs, store

    image = volume.open_volume(row.image)

    def grey(first: int, last: int) -> np.ndarray:
        return intensity.grey(image.array[first:last], image.attributes, rule=LEVELS)

    if row.reference.suffix.lower() == ".swc":
        tree = swc.read(row.reference, unit=row.reference_unit, voxel_size=image.voxel_size)

        def make(first: int, last: int) -> "Pair":
            moved = swc.Tree(
                tree.xyz - [0, 0, first * image.voxel_size[0]], tree.radius, tree.parent, tree.type
            )
            return pairs.from_tree(row.sample, grey(first, last), [moved], image.voxel_size, complete=False)
    else:
        labels = images.open_image(row.reference)
        if labels.shape != image.shape or labels.dtype.kind not in "ui":
            found = f"{labels.dtype}, {sizes(labels.shape)} voxels"
            raise InputError(
                row.reference, found, f"whole numbers, {sizes(image.shape)} voxels as {row.image}"
            )

        def make(first: int, last: int) -> "Pair":
            return pairs.from_labels(row.sample, grey(first, last), labels.array[first:last])

    return store.in_slabs(row.sample, image.shape, make, folder=work)


def _simulate(settings: Train) -> list:
    """Simulated scenes as pairs; scene i is a function of (seed, i) alone."""
    from pipeline.simulation.scene import empty_scene, random_scene, random_voxel_size
    from pipeline.training import pairs

    scenes = []
    edge = settings.window + settings.window // 2
    shape = (16, edge, edge)
    for index in range(settings.simulated):
        rng = np.random.default_rng([settings.seed, index])
        if rng.random() < settings.empty_share:
            scenes.append(pairs.empty(f"scene {index}", _scene_grey(empty_scene(rng, shape_zyx=shape))))
            continue
        voxel_size = random_voxel_size(rng)
        image, trees = random_scene(rng, shape_zyx=shape, voxel_size=voxel_size)
        scenes.append(pairs.from_tree(f"scene {index}", _scene_grey(image), trees, voxel_size, complete=True))
    return scenes


def _scene_grey(voxels: np.ndarray) -> np.ndarray:
    """Scaled as ingest and infer would."""
    percentiles = (config.Ingest().low_percentile, config.Ingest().high_percentile)
    step = intensity.sample_step(voxels.shape)
    sample = voxels[::step, ::step, ::step].ravel()
    level = intensity.levels(
        sample, minimum=float(voxels.min()), maximum=float(voxels.max()), percentiles=percentiles
    )
    return intensity.grey(voxels, level, rule=LEVELS)


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


def _without_folders(settings: Train) -> Train:
    """Names of files instead of paths: the card travels, this machine's folders do not."""
    names = {name: sheet.names_only(getattr(settings, name)) for name in ("start", "more_samples")}
    return settings.model_copy(update=names)


def write_card(
    settings: Train, architecture: "Architecture", trained: list, held_out: list, scenes: int, log: Path
) -> str:
    """The model card: what the weights are, what they saw, how well they do on what they did not see."""
    steps = log.read_text(encoding="utf-8").splitlines()[1:]
    score = [line.split("\t")[4] for line in steps if line.split("\t")[4]]
    names = {"trained on": trained, "held out (scored only)": held_out}
    depth, edge, _ = architecture.window
    lines = [
        "# Model card",
        "",
        "Slice segmenter of stack2swc (light microscopy): a 3D vision transformer that reads "
        f"{depth} slices of {edge} x {edge} pixels and tells for each pixel of the "
        "middle one how probably it is neurite.",
        "",
        f"- start: {settings.start or 'random'} ({settings.inflation} inflation where it is a 2D model)",
        *(
            f"- {what}: {', '.join(pair.name for pair in pairs) or 'nothing'}"
            for what, pairs in names.items()
        ),
        f"- simulated scenes: {scenes}, {settings.simulated_share:.0%} of the windows",
        f"- steps: {len(steps)} of {settings.batch} windows, seed {settings.seed}, weights averaged over steps",
        f"- foreground Dice of what was held out, last step: {score[-1] if score else 'nothing held out'}",
        f"- settings: `{config.options(settings)}`",
        "",
    ]
    return "\n".join(lines)
