"""train: the network's weights from images with references, voxel labels and simulated neurons."""

from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from pipeline import __version__, blocks, config, dataset, intensity, swc, volume
from pipeline.config import Ingest, Train
from pipeline.errors import InputError
from pipeline.files import write_text


def run(
    datasets: list[Path],
    /,
    *,
    output: Path,
    device: str = "auto",
    workers: int = 1,
    settings: Train = Train(),
) -> None:
    """Train the network. Killed, it goes on from its last checkpoint (beside the output, `.checkpoint`).

    Args:
        datasets: dataset folders; samples with a reference (SWC, or voxel labels `STEM_labels.tif`) are used.
        output: the weights (safetensors); beside them the log (.tsv, one line a step) and the model card (.md).
        device: auto (a GPU where there is one), cpu or cuda.
        workers: processes that make windows beside the training.
    """
    import torch

    from pipeline.network import weights
    from pipeline.network.vit3d import Architecture
    from pipeline.training import loop

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    folders = [*datasets, *map(Path, settings.more_datasets.split())]
    trained, held_out = _load_pairs(folders, settings)
    scenes = _simulate(settings)
    if not trained and not scenes:
        raise InputError(datasets[0], "no sample with a reference, none simulated", "one at least")
    architecture = Architecture(depth=settings.depth, tile=settings.window)
    start = Path(settings.start) if settings.start else None
    model = weights.start_model(start, architecture, how=settings.inflation, seed=settings.seed).to(device)
    model.decoder.to(memory_format=torch.channels_last)
    batches = loop.Batches(
        trained + scenes,
        _shares(trained, scenes, settings.simulated_share),
        size=settings.batch,
        depth=model.architecture.depth,
        tile=model.architecture.tile,
        seed=settings.seed,
    )
    log = output.with_suffix(".tsv")
    checkpoint = output.with_name(f".{output.stem}.checkpoint")
    averaged = loop.fit(
        model,
        batches,
        steps=settings.steps,
        checkpoint=checkpoint,
        log=log,
        validate=(lambda network: _mean_dice(network, held_out)) if held_out else None,
        validate_every=settings.validate_every,
        encoder_rate=settings.encoder_rate,
        decoder_rate=settings.decoder_rate,
        layer_decay=settings.layer_decay,
        workers=workers,
        bf16=settings.precision == "bf16" or (settings.precision == "auto" and device == "cuda"),
    )
    # Names of files, not of folders: the card travels, this machine's folders do not.
    told = settings.model_copy(
        update={
            name: " ".join(Path(path).name for path in getattr(settings, name).split())
            for name in ("start", "more_datasets")
        }
    )
    write_text(output.with_suffix(".md"), _write_card(told, trained, held_out, scenes, log))
    weights.save(output, averaged, card={"version": __version__, "settings": told.model_dump()})
    checkpoint.unlink(missing_ok=True)


def _load_pairs(datasets: list[Path], settings: Train) -> tuple[list, list]:
    """Pairs to train on, and those whose name matches settings.validation."""
    trained: list = []
    held_out: list = []
    for folder in datasets:
        for sample in dataset.discover(folder):
            labels = sample.image.with_name(f"{sample.image.stem}_labels{sample.image.suffix}")
            if sample.reference is None and not labels.is_file():
                continue
            patterns = settings.validation.split()
            where = held_out if any(fnmatch(sample.name, pattern) for pattern in patterns) else trained
            where.append(_load_pair(sample, labels))
            print(f"{sample.name}: {'held out' if where is held_out else 'trained on'}", flush=True)
    return trained, held_out


def _load_pair(sample: dataset.Sample, labels: Path):
    from pipeline.training import pairs

    source = volume.open_image(sample.image)
    grey = _grey(source.array[:])
    if sample.reference is None:
        return pairs.from_labels(sample.name, grey, volume.open_image(labels).array[:])
    voxel_size = sample.voxel_size or source.voxel_size
    if voxel_size is None:
        raise InputError(sample.image, "no voxel size in its metadata", "z,y,x in um, in samples.tsv")
    tree = swc.read(sample.reference, unit=sample.reference_unit, voxel_size=voxel_size)
    return pairs.from_tree(sample.name, grey, [tree], voxel_size, complete=False)


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
            scenes.append(pairs.empty(f"scene {index}", _grey(empty_scene(rng, shape_zyx=shape))))
            continue
        voxel_size = random_voxel_size(rng)
        image, trees = random_scene(rng, shape_zyx=shape, voxel_size=voxel_size)
        scenes.append(pairs.from_tree(f"scene {index}", _grey(image), trees, voxel_size, complete=True))
    return scenes


def _grey(voxels: np.ndarray) -> np.ndarray:
    """Scaled as ingest and infer would."""
    percentiles = (Ingest().low_percentile, Ingest().high_percentile)
    step = intensity.sample_step(voxels.shape)
    sample = voxels[::step, ::step, ::step].ravel()
    level = intensity.levels(
        sample, minimum=float(voxels.min()), maximum=float(voxels.max()), percentiles=percentiles
    )
    return intensity.grey(voxels, level["low"], level["high"])


def _shares(trained: list, scenes: list, simulated_share: float) -> np.ndarray:
    """Share of the windows that each pair gives: even among the images, even among the scenes."""
    share = np.empty(len(trained) + len(scenes))
    share[: len(trained)] = (1 - simulated_share) / max(len(trained), 1)
    share[len(trained) :] = simulated_share / max(len(scenes), 1)
    return share


def _mean_dice(network, held_out: list) -> float:
    """Mean foreground Dice (probability > .5) over the held-out pairs."""
    return float(np.mean([_dice(network, pair) for pair in held_out]))


def _dice(network, pair) -> float:
    """Foreground Dice of one pair over some 16 of its labelled slices, where the truth is known."""
    import torch

    from pipeline.network.predict import predict_block, reach

    depth, window = network.architecture.depth, network.architecture.tile
    labelled = np.flatnonzero(pair.counts.any((1, 2)))
    planes = labelled[:: max(1, len(labelled) // 16)]
    stride = round(window * 0.75)
    rows, columns = (len(blocks.grid_starts(size, window, stride)) for size in pair.image.shape[1:])
    signal = np.zeros((len(pair.image), rows, columns), bool)
    signal[planes] = True
    plan = blocks.make_plan(
        signal, pair.image.shape, depth=depth, window=window, stride=stride, plane=2**31, voxels=2**62
    )
    with torch.inference_mode():
        grey = blocks.read_clamped(pair.image, reach(plan.blocks[0], plan))
        found = predict_block(network, grey, plan.blocks[0], plan)[planes] > 0.5
    truth, counts = pair.distance[planes] <= 0, pair.counts[planes]
    return float(2 * (found & truth & counts).sum() / max(1, (found & counts).sum() + (truth & counts).sum()))


def _write_card(settings: Train, trained: list, held_out: list, scenes: list, log: Path) -> str:
    """The model card: what the weights are, what they saw, how well they do on what they did not see."""
    steps = log.read_text(encoding="utf-8").splitlines()[1:]
    dice = [line.split("\t")[4] for line in steps if line.split("\t")[4]]
    names = {"trained on": trained, "held out (scored only)": held_out}
    lines = [
        "# Model card",
        "",
        "Slice segmenter of stack2swc (light microscopy): a 3D vision transformer that reads "
        f"{settings.depth} slices of {settings.window} x {settings.window} pixels and tells for each pixel of the "
        "middle one how probably it is neurite.",
        "",
        f"- start: {settings.start or 'random'} ({settings.inflation} inflation where it is a 2D model)",
        *(
            f"- {what}: {', '.join(pair.name for pair in pairs) or 'nothing'}"
            for what, pairs in names.items()
        ),
        f"- simulated scenes: {len(scenes)}, {settings.simulated_share:.0%} of the windows",
        f"- steps: {len(steps)} of {settings.batch} windows, seed {settings.seed}, weights averaged over steps",
        f"- foreground Dice of what was held out, last step: {dice[-1] if dice else 'nothing held out'}",
        f"- settings: `{config.options(settings)}`",
        "",
    ]
    return "\n".join(lines)
