"""train_em: the weights of an affinity network from ingested volumes and their labels."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from pipeline import __version__, config, volume
from pipeline.config.train_em import TrainEm
from pipeline.errors import InputError
from pipeline.files import write_text
from pipeline.training import sheet
from pipeline.training.sheet import Row

if TYPE_CHECKING:
    from pipeline.network.affinities import AffinityNet, Architecture
    from pipeline.training.affinities import AffinityTask, Volume


def run(
    sheets: list[Path],
    /,
    *,
    output: Path,
    device: Annotated[str, Parameter(env_var="STACK2SWC_TRAIN_DEVICE")] = "auto",
    workers: Annotated[int, Parameter(env_var="STACK2SWC_TRAIN_WORKERS")] = 1,
    settings: TrainEm = TrainEm(),
) -> None:
    """Train the network for electron microscopy. Killed, it goes on from its last checkpoint (beside the output).

    The volumes are held in memory, some 40 bytes a voxel at the peak.

    Args:
        sheets: TSV with columns sample, image (OME-Zarr made by ingest), reference (an image of voxel labels, also
            file.h5:/labels; empty for a volume that serves the pre-training alone), reference_unit; the workflow
            writes one as trained/em.samples.tsv of its results.
        output: the weights (safetensors); beside them the log (.tsv, one line a step), that of the pre-training
            (.pretrain.tsv) and the model card (.md).
        device: auto (a GPU where there is one), cpu or cuda.
        workers: processes that make crops beside the training.
    """
    from pipeline.network import model, weights
    from pipeline.training import electron, loop

    device = model.choose_device(device)
    paths = [*sheets, *map(Path, settings.more_samples.split())]
    rows = [row for path in paths for row in sheet.read_sheet(path)]
    trained, held_out, unlabelled = _load(rows, settings)
    if not trained:
        raise InputError(sheets[0], "no sample with labels to train on", "one at least")
    start = Path(settings.start) if settings.start else None
    network = weights.start_affinities(start, _architecture(settings, trained), seed=settings.seed).to(device)
    # What a training and its pre-training have in common.
    how: dict[str, Any] = {
        "digest": _digest(settings, rows),
        "workers": workers,
        "bf16": model.choose_precision(settings.precision, device) == "bf16",
    }
    before = output.with_name(f".{output.stem}.pretrain.checkpoint")
    checkpoint = output.with_name(f".{output.stem}.checkpoint")
    if settings.pretrain == "gaussian_mask":
        _pretrain(network, unlabelled, settings, before, output.with_suffix(".pretrain.tsv"), how)
    log = output.with_suffix(".tsv")
    averaged = loop.fit(
        network,
        _task(trained, held_out, network, settings),
        steps=settings.steps,
        checkpoint=checkpoint,
        log=log,
        validate_every=settings.validate_every,
        **how,
    )
    told = sheet.names_only(settings, "start", "more_samples")
    write_text(output.with_suffix(".md"), _card(told, network.architecture, trained, held_out, log))
    weights.save(
        output,
        averaged,
        levels=electron.LEVELS,
        voxel_um=electron.voxel_range(trained, thicken=settings.thicken > 0),
        card={"version": __version__, "settings": told.model_dump()},
    )
    for done in (before, checkpoint):
        done.unlink(missing_ok=True)


def _task(
    trained: list["Volume"], held_out: list["Volume"], network: "AffinityNet", settings: TrainEm
) -> "AffinityTask":
    from pipeline.training import electron
    from pipeline.training.affinities import AffinityTask

    return AffinityTask(
        electron.weighed(trained, stretched=settings.stretched),
        network.architecture,
        held_out=held_out,
        size=settings.batch,
        seed=settings.seed,
        rate=settings.rate,
        mix_frequency=settings.mix_frequency,
        cut_mix=settings.cut_mix,
        thicken=settings.thicken,
        bent=settings.bent,
        erosion=settings.erosion,
    )


def _pretrain(
    network: "AffinityNet",
    volumes: list["Volume"],
    settings: TrainEm,
    checkpoint: Path,
    log: Path,
    how: dict[str, Any],
) -> None:
    """Let the network's encoder learn to rebuild masked images, from where it is; its decoders stay."""
    from pipeline.training import gaussian_mask, loop

    depths, sides = gaussian_mask.fitting_blocks(network.architecture)
    rebuilder = gaussian_mask.Rebuilder(network.architecture)
    rebuilder.encoder.load_state_dict(network.encoder.state_dict())
    rebuilt = loop.fit(
        rebuilder.to(next(network.parameters()).device),
        gaussian_mask.GaussianMaskTask(
            [each.image for each in volumes],
            network.architecture,
            size=settings.batch,
            seed=settings.seed,
            depths=depths,
            sides=sides,
        ),
        steps=settings.pretrain_steps,
        checkpoint=checkpoint,
        log=log,
        **how,
    )
    gaussian_mask.transfer(rebuilt.state_dict(), network)


def _load(rows: list[Row], settings: TrainEm) -> tuple[list["Volume"], list["Volume"], list["Volume"]]:
    """Volumes to train on, those that are scored only, and all whose image may be learnt without labels."""
    from pipeline.training import electron

    trained, held_out, unlabelled = [], [], []
    for row in rows:
        whole = electron.load(row, membrane=row.is_one_of(settings.membrane))
        if row.is_one_of(settings.validation):
            held_out += [whole] if row.has_reference else []
            print(f"{row.sample}: held out", flush=True)
            continue
        kept = 1 - settings.validation_share
        if settings.validation_share and row.has_reference:
            held_out.append(electron.part(whole, kept, 1))
        unlabelled.append(electron.part(whole, 0, kept))
        if row.has_reference:
            trained.append(electron.part(unlabelled[-1], 0, settings.label_share))
            used = f"sections 0 to {len(trained[-1].image) - 1} of {len(whole.image)} trained on"
        else:
            used = "pre-training alone" if settings.pretrain != "none" else "no labels, not used"
        print(f"{row.sample}: {used}", flush=True)
    return trained, held_out, unlabelled


def _architecture(settings: TrainEm, volumes: list["Volume"]) -> "Architecture":
    """Sizes of a new network; what the settings leave open is decided by the thickest sections."""
    from pipeline.network.affinities import LONG, PRESETS, SHORT, Architecture, z_pooling

    thickest = max((each.voxel_size for each in volumes), key=lambda size: size[0] / max(size[1:]))
    if settings.z_pooled in ("auto", "depth"):
        pooled = z_pooling(settings.depth, thickest if settings.z_pooled == "auto" else None)
    else:
        pooled = tuple(step == "1" for step in settings.z_pooled)
    return Architecture(
        widths=tuple(map(int, settings.widths.split(","))) if settings.widths else PRESETS[settings.preset],
        depth=settings.depth,
        height=settings.height,
        width=settings.width,
        offsets=SHORT + LONG if settings.long_range else SHORT,
        z_pooled=pooled,
    )


def _digest(settings: TrainEm, rows: list[Row]) -> str:
    """Of everything that decides what is learnt: a checkpoint of anything else is of another training."""
    seen = [
        (row.sample, volume.open_volume(row.image).attributes["sha256"], sheet.file_digest(row.reference))
        for row in rows
    ]
    start = sheet.file_digest(Path(settings.start)) if settings.start else ""
    return hashlib.sha256(repr((__version__, settings, start, seen)).encode()).hexdigest()


def _card(settings: TrainEm, architecture: "Architecture", trained: list, held_out: list, log: Path) -> str:
    """The model card: what the weights are, what they saw, how well they do on what they did not see."""
    steps = log.read_text(encoding="utf-8").splitlines()[1:]
    score = [line.split("\t")[4] for line in steps if line.split("\t")[4]]
    lines = [
        "# Model card",
        "",
        "Affinity network of stack2swc (electron microscopy): 2D and 3D streams that read "
        f"{' x '.join(map(str, architecture.window))} voxels and tell for each how probably it is inside a cell, "
        "and how probably it and its neighbours are of one cell.",
        "",
        f"- channels: {', '.join(architecture.channels)}",
        f"- widths: {', '.join(map(str, architecture.widths))}",
        f"- start: {settings.start or 'random'}, pre-training: {settings.pretrain}",
        *(
            f"- {what}: {', '.join(_told(each) for each in volumes) or 'nothing'}"
            for what, volumes in (("trained on", trained), ("held out (scored only)", held_out))
        ),
        f"- steps: {len(steps)} of {settings.batch} crops, seed {settings.seed}, weights averaged over steps",
        f"- F1 of the borders between cells in what was held out, last step: "
        f"{score[-1] if score else 'nothing held out'}",
        f"- settings: `{config.options(settings)}`",
        "",
    ]
    return "\n".join(lines)


def _told(each: "Volume") -> str:
    nm = " x ".join(f"{1000 * edge:g}" for edge in each.voxel_size)
    return f"{each.name} ({' x '.join(map(str, each.image.shape))} voxels of {nm} nm)"
