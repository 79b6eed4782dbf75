"""infer: what the network makes of each block of an image."""

import hashlib
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from cyclopts import Parameter

from pipeline import __version__, blocks, intensity, volume
from pipeline.blocks import Block, Plan
from pipeline.config.infer import Infer
from pipeline.errors import InputError
from pipeline.files import rename_directory, whole, write_json
from pipeline.intensity.blank import Filled
from pipeline.stages import VERSIONS

if TYPE_CHECKING:
    from pipeline.network.model import Network

MADE = "made.json"
VOXELS = 32_000_000  # of the image that are made means at once: some 400 MB


def run(
    image: Path,
    plan: Path,
    weights: Path,
    output: Path,
    *,
    device: Annotated[str, Parameter(env_var="STACK2SWC_INFER_DEVICE")] = "auto",
    batch: Annotated[int, Parameter(env_var="STACK2SWC_INFER_BATCH")] = 0,
    settings: Infer = Infer(),
) -> None:
    """Run the network over the blocks of a plan. Killed, it goes on behind the last whole block.

    Args:
        image: OME-Zarr made by ingest.
        plan: made by tile.
        weights: safetensors made by train.
        output: folder of one uint8 .npy a block (c, z, y, x; 0..255 = probability 0..1), and made.json: by what.
        device: auto (a GPU where there is one), cpu or cuda.
        batch: windows of 5 x 128 x 128 voxels that go through the network at once; fewer of larger ones. 0: 16 on a
            CPU, 256 on a GPU.
    """
    from pipeline.network import model
    from pipeline.network.predict import Progress

    source, level, cut = volume.open_volume(image), volume.read_levels(image), blocks.read_plan(plan)
    network = model.load(weights, device=device, precision=settings.precision, views=settings.views)
    wanted = network.contract.grid(cut.grid.shape, overlap=0)
    cut.check(plan, source.shape)
    if network.contract.binning(source.voxel_size) != cut.binning or (wanted.window, wanted.core) != (
        cut.grid.window,
        cut.grid.core,
    ):
        raise InputError(plan, "made for another network", f"a plan that tile made with {weights}")
    warnings = _unlike_training(network, source)
    for said in warnings:
        print(f"warning: {said}", flush=True)
    made = {
        "version": __version__,
        **network.provenance(),
        "channels": network.contract.channels,
        "warnings": warnings,
    }
    # Finished blocks of a killed run are found again under the digest of everything that decides their bytes.
    digest = _digest(source.attributes["sha256"], plan.read_text(encoding="utf-8"), made, VERSIONS["infer"])
    work = output.with_name(f".{output.name}.{digest}")
    names = [f"{index:06d}.npy" for index in range(len(cut.blocks))]
    # Twice where a second job of the same sample (a lost node) has taken the folder away under this one.
    while not _is_whole(output, names, digest):
        progress = Progress(sum(block.voxels for block in cut.blocks))
        for name, block in zip(names, cut.blocks):
            found = (work / name).exists()
            if not found:
                told = progress.windows_of(block)
                probability = _predict(network, source, level, block, cut, batch, told)
                try:
                    with whole(work / name) as private, open(private, "wb") as file:
                        np.save(file, np.rint(probability * 255).astype(np.uint8))
                except FileNotFoundError:  # taken away between the two lines above
                    if _is_whole(output, names, digest):
                        break
                    raise
            if found or not block.windows:  # the others were told window by window
                progress.add(block.voxels)
        write_json(work / MADE, {**made, "digest": digest})
        if _is_whole(work, names, digest):
            rename_directory(work, output)
    for left_over in output.parent.glob(f".{output.name}.*"):
        shutil.rmtree(left_over, ignore_errors=True)  # of a killed run with other settings


def _predict(
    network: "Network",
    source: volume.Volume,
    level: intensity.Levels,
    block: Block,
    plan: Plan,
    batch: int,
    told: Callable[[int], None],
) -> np.ndarray:
    channels = len(network.contract.channels)
    if not block.windows:
        return np.zeros((channels, *block.shape), np.float32)
    grey = _seen(source.array, level, plan.grid.reach(block), plan, network.contract.levels)
    return network.predict(grey, block, plan.grid, batch=batch, told=told)


def _seen(array, level: intensity.Levels, box: list[tuple[int, int]], plan: Plan, rule: str) -> np.ndarray:
    """float32 (z, y, x): what the network sees in a box of the plan's voxels.

    Where several voxels of the image are one of these, some planes are read at a time: a block of the image would be
    many times as large.
    """
    image = array if plan.fill is None else Filled(array, plan.fill)
    (first, stop), *sides = box
    plane = math.prod(plan.binning) * math.prod(b - a for a, b in sides)
    step = stop - first if plan.binning == blocks.UNBINNED else max(1, VOXELS // plane)
    parts = []
    for low in range(first, stop, step):
        coarse = [(low, min(low + step, stop)), *sides]
        fine = [(a * each, b * each) for (a, b), each in zip(coarse, plan.binning)]
        voxels = blocks.read_clamped(image, fine)
        parts.append(intensity.grey(voxels, level, fine, rule=rule, binning=plan.binning, noise=plan.noise))
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _is_whole(folder: Path, names: list[str], digest: str) -> bool:
    """Whether a folder holds every block, made of the same things."""
    try:
        made = json.loads((folder / MADE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return made.get("digest") == digest and all((folder / name).exists() for name in names)


def _unlike_training(network: "Network", source: volume.Volume) -> list[str]:
    """A sentence where what the network reads is unlike what it was trained on."""
    if network.contract.knows(source.voxel_size):
        return []
    low, high = network.contract.voxel_um
    return [f"voxels of {source.voxel_size} um (z,y,x): the network was trained on {low} to {high}"]


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
