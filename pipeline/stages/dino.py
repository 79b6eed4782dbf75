"""dino: the weights of a 2D vision transformer from pictures without labels."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from cyclopts import Parameter

from pipeline import __version__, config
from pipeline.config.dino import Dino
from pipeline.errors import InputError
from pipeline.files import whole, write_text
from pipeline.training import sheet

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.network.slices import Architecture
    from pipeline.network.vit2d import Vit2d
    from pipeline.training.crops import Pictures
    from pipeline.training.dino import Plan

# Of pictures whose attention is drawn, and neighbours that are asked for a class.
DRAWN, NEIGHBOURS = 10, (5, 20)


def run(
    pictures: list[Path],
    /,
    *,
    output: Path,
    device: Annotated[str, Parameter(env_var="STACK2SWC_TRAIN_DEVICE")] = "auto",
    settings: Dino = Dino(),
) -> None:
    """Pre-train a 2D vision transformer. Killed, it goes on from its last checkpoint (beside the output).

    All pictures are held in memory, 85 kB each.

    Args:
        pictures: folders or tar files of pictures (.jpg, .png, ...); OME-Zarr made by ingest, whose planes are taken.
        output: the weights (safetensors) under timm's names, for train.start; beside them the log (.tsv, one line a
            step), the card (.md) and a picture of where the transformer looks (.png).
        device: auto (a GPU where there is one), cpu or cuda.
    """
    import torch
    from safetensors.torch import save_file

    from pipeline.network import model, source
    from pipeline.training import dino
    from pipeline.training.pictures import gathered

    device = model.choose_device(device)
    seen, judged = _read(pictures, settings.judged)
    if not seen:
        raise InputError(", ".join(map(str, pictures)), "no picture to train on", "one at least")
    sizes, start = _start(settings)
    plan = _plan(settings)
    log, checkpoint = output.with_suffix(".tsv"), output.with_name(f".{output.stem}.checkpoint")
    backbone = dino.train(
        gathered(seen).to(device),
        sizes,
        plan,
        log=log,
        checkpoint=checkpoint,
        digest=_digest(settings, seen),
        start=start,
        bf16=device == "cuda",
    )
    score = _neighbours(backbone, judged, settings.size, device)
    shown = gathered([picture for _, picture in judged] or seen).to(device)
    which = torch.linspace(0, len(shown) - 1, min(DRAWN, len(shown))).round().long()
    told = sheet.names_only(settings, "start", "pictures", "judged")
    _draw(backbone, shown, which.to(device), settings.size, output.with_suffix(".png"))
    write_text(
        output.with_suffix(".md"), write_card(told, [path.name for path in pictures], len(seen), score, log)
    )
    about = {
        "mean": source.IMAGENET_MEAN,
        "std": source.IMAGENET_STD,
        "heads": sizes.heads,
        "card": {"version": __version__, "settings": told.model_dump(), "pictures": len(seen)},
    }
    tensors = {name: value.half().contiguous().cpu() for name, value in backbone.state_dict().items()}
    with whole(output) as private:
        save_file(tensors, private, {source.ENTRY: json.dumps(about)})
        private.chmod(0o644)  # safetensors keeps its files to their owner
    checkpoint.unlink(missing_ok=True)


def write_card(settings: Dino, sources: list[str], count: int, score: dict[int, float], log: Path) -> str:
    """The model card: what the weights are, what they saw, what they learnt."""
    last = log.read_text(encoding="utf-8").splitlines()[-1].split("\t")
    told = ", ".join(f"{value:.3f} (k = {k})" for k, value in score.items()) or "not asked for"
    lines = [
        "# Model card",
        "",
        "2D vision transformer pre-trained without labels by DINO (Caron et al. 2021); the teacher's backbone.",
        "",
        f"- start: {settings.start or 'random weights'}",
        f"- pictures: {count} of {', '.join(sources)}",
        f"- steps: {int(last[0]) + 1} of {settings.batch} pictures, seed {settings.seed}",
        f"- last step: loss {last[2]}, entropy of the teacher {last[3]}, distance of its mean from uniform {last[4]}",
        f"- classes of the judged pictures told by their nearest neighbours: {told}",
        f"- settings: `{config.options(settings)}`",
        "",
    ]
    return "\n".join(lines)


def _read(paths: list[Path], judged: str) -> tuple[list[np.ndarray], list[tuple[str, np.ndarray]]]:
    """Pictures to train on, and (class, picture) of those that judge."""
    from pipeline import intensity, volume
    from pipeline.training.pictures import read_pictures, read_planes

    seen: list[np.ndarray] = []
    asked: list[tuple[str, np.ndarray]] = []
    for path in paths:
        if path.suffix == ".zarr":
            image, level = volume.open_volume(path), volume.read_levels(path)
            for first, last in ((z, z + 1) for z in range(image.shape[0])):
                box = [(first, last), *((0, size) for size in image.shape[1:])]
                light = intensity.light(image.array[first:last], level, box)
                seen += read_planes(intensity.curve(light))
            continue
        for name, picture in read_pictures(path):
            part = Path(name).parts
            if judged and part[0] == judged and len(part) > 2:
                asked.append((part[1], picture))
            else:
                seen.append(picture)
    if judged and Path(judged).is_dir():
        asked += [(Path(name).parts[0], picture) for name, picture in read_pictures(Path(judged))]
    return seen, asked


def _start(settings: Dino) -> "tuple[Architecture, dict[str, Tensor] | None]":
    from pipeline.network import source
    from pipeline.network.inflate import resize_positions
    from pipeline.network.slices import Architecture

    wanted = Architecture(tile=settings.size, patch=settings.patch)
    if not settings.start:
        return wanted, None
    given = source.read(Path(settings.start))
    sizes = given.sizes(wanted)
    grid = settings.size // sizes.patch
    table = resize_positions(source.take(given.state, "pos_embed", given.name), (grid, grid))
    return sizes, {**given.state, "pos_embed": table}


def _plan(settings: Dino) -> "Plan":
    from pipeline.training.dino import Plan

    return Plan(
        steps=settings.steps,
        batch=settings.batch,
        local=settings.local,
        sizes=(settings.size, settings.local_size),
        outputs=settings.outputs,
        hidden=settings.hidden,
        rate=settings.rate,
        momentum=settings.momentum,
        seed=settings.seed,
    )


def _neighbours(
    backbone: "Vit2d", judged: list[tuple[str, np.ndarray]], size: int, device: str
) -> dict[int, float]:
    """{k: share of the judged pictures whose class their neighbours tell}; empty where there are none."""
    import torch

    from pipeline.training import dino
    from pipeline.training.pictures import gathered

    if not judged:
        return {}
    names, classes = np.unique([name for name, _ in judged], return_inverse=True)
    found = dino.features(backbone, gathered([picture for _, picture in judged]).to(device), size=size)
    score = {
        k: dino.nearest_neighbours(found, torch.from_numpy(classes), k) for k in NEIGHBOURS if k < len(judged)
    }
    print(
        f"{len(judged)} pictures of {len(names)} classes: "
        + ", ".join(f"k={k} {v:.3f}" for k, v in score.items())
    )
    return score


def _draw(backbone: "Vit2d", pictures: "Pictures", which: "Tensor", size: int, output: Path) -> None:
    from pipeline import picture_attention
    from pipeline.training import dino

    rgb, maps = dino.attention_maps(backbone, pictures, which, size=size)
    picture_attention.draw(rgb, maps, output, title="attention of the class token, last block")


def _digest(settings: Dino, pictures: list[np.ndarray]) -> str:
    digest = hashlib.sha256(repr((__version__, settings)).encode())
    if settings.start:
        digest.update(sheet.file_digest(Path(settings.start)).encode())
    for picture in pictures:
        digest.update(picture.tobytes())
    return digest.hexdigest()
