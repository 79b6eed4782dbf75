"""The affinity task of electron microscopy: labelled volumes -> crops, targets, loss.

Targets of Zhang et al. 2024, *SegNeuron*: the foreground (no membrane) and, for each of three axes, whether a
voxel and the one before it are the same neuron. Ours: bodies are split into face-connected pieces first, borders
are eroded on both sides, the loss is plain cross-entropy (its probabilities are read as probabilities later), and
long-range affinities may be learnt beside the short ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations, product

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.metrics.cells import in_pieces
from pipeline.network.affinities import SHORT, Architecture
from pipeline.training import bend, mixing, sections

Offset = tuple[int, int, int]
Crop = tuple[np.ndarray, np.ndarray, np.ndarray]  # image (1, D, H, W), target and counts (C, D, H, W)
THICKER = {2: 0.15, 3: 0.15, 4: 0.55, 5: 0.15}  # how many isotropic sections make a thick one, and how often
SCORED = 2  # windows along each axis of a held-out volume, at most
FLAT = 1.9  # sections thicker than that many pixels are anisotropic


@dataclass(frozen=True)
class Volume:
    """A labelled volume; image uint8 and labels (D, H, W), voxel size z, y, x (any unit).

    membrane: label 0 is membrane (background to learn); otherwise it is unlabelled (not scored).
    share: how often crops come from this volume, among all.
    """

    name: str
    image: np.ndarray
    labels: np.ndarray
    voxel_size: tuple[float, float, float]
    membrane: bool
    share: float = 1.0

    @property
    def isotropic(self) -> bool:
        return self.voxel_size[0] < FLAT * max(self.voxel_size[1:])


def erode(labels: np.ndarray, *, steps: int = 1, in_plane: bool = True) -> tuple[np.ndarray, list[int]]:
    """(labels with 0 where two of them touched, ids that this removed whole).

    steps: how many voxels go on each side; what faces 0 stays. in_plane: within sections; else along z, too.
    Afterwards no two different labels are face neighbours along these axes.
    """
    axes = (1, 2) if in_plane else (0, 1, 2)
    gone = np.zeros(labels.shape, bool)
    for step in range(steps):
        reached = gone.copy()
        for axis in axes:
            ahead, behind = (_along(labels, axis, part) for part in (slice(1, None), slice(None, -1)))
            if step == 0:
                touches = (ahead != behind) & (ahead > 0) & (behind > 0)
                _along(reached, axis, slice(1, None))[touches] = True
                _along(reached, axis, slice(None, -1))[touches] = True
            else:
                _along(reached, axis, slice(1, None))[_along(gone, axis, slice(None, -1))] = True
                _along(reached, axis, slice(None, -1))[_along(gone, axis, slice(1, None))] = True
        gone = reached
    eroded = np.where(gone, 0, labels).astype(labels.dtype)
    lost = np.setdiff1d(np.unique(labels[gone]), np.unique(eroded))
    return eroded, [int(label) for label in lost if label]


def affinities(labels: np.ndarray, offsets: tuple[Offset, ...] = SHORT) -> np.ndarray:
    """(C, D, H, W) uint8: 1 where a voxel and the one at the offset have the same label, not 0.

    Where the other voxel lies outside, 1 iff the voxel has a label (the release's "replicate").
    """
    out = np.empty((len(offsets), *labels.shape), np.uint8)
    for channel, offset in zip(out, offsets):
        channel[:] = labels > 0
        here, there = _pair(labels.shape, offset)
        channel[here] &= labels[here] == labels[there]
    return out


def affinity_counts(counts: np.ndarray, offsets: tuple[Offset, ...] = SHORT) -> np.ndarray:
    """(C, D, H, W) uint8: 1 where both voxels of a pair are scored; first planes of long offsets are not."""
    out = np.empty((len(offsets), *counts.shape), np.uint8)
    for channel, offset in zip(out, offsets):
        channel[:] = counts if offset in SHORT else 0
        here, there = _pair(counts.shape, offset)
        channel[here] = counts[here] & counts[there]
    return out


def targets(
    eroded: np.ndarray, counts: np.ndarray, offsets: tuple[Offset, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Target and what of it is scored, (C + 1, D, H, W) uint8: affinities, then the foreground."""
    target = np.concatenate([affinities(eroded, offsets), (eroded > 0)[None].astype(np.uint8)])
    return target, np.concatenate([affinity_counts(counts, offsets), counts[None].astype(np.uint8)])


def border_f1(
    model: nn.Module,
    volume: Volume,
    shape: tuple[int, int, int],
    *,
    erosion: int,
    offsets: tuple[Offset, ...] = SHORT,
) -> float:
    """F1 of "these two neighbours are not one cell" (affinity below .5) over some windows of a volume.

    volume: its labels split into pieces. At most SCORED windows of `shape` along each axis, evenly over the volume.
    Joined neighbours are nine in ten: a score of theirs would be high whatever the network does.
    """
    device = next(model.parameters()).device
    missing = [(0, max(want - have, 0)) for have, want in zip(volume.image.shape, shape)]
    image, labels = (np.pad(part, missing, mode="symmetric") for part in (volume.image, volume.labels))
    eroded, _ = erode(labels, steps=erosion, in_plane=not volume.isotropic)
    known = np.ones(labels.shape, bool) if volume.membrane else labels > 0
    corners = [
        np.unique(np.linspace(0, have - want, min(SCORED, -(-have // want))).astype(int))
        for have, want in zip(image.shape, shape)
    ]
    found, true, both = 0, 0, 0
    for corner in product(*corners):
        box = tuple(slice(low, low + want) for low, want in zip(corner, shape))
        grey = torch.from_numpy(image[box].astype(np.float32) / 255)[None, None].to(device)
        with torch.inference_mode():
            logits = model(grey)[0, : len(SHORT)].float().cpu().numpy()
        target, counts = (part[: len(SHORT)] for part in targets(eroded[box], known[box], offsets))
        cut, border, counts = logits < 0, target == 0, counts > 0
        found += int((cut & counts).sum())
        true += int((border & counts).sum())
        both += int((cut & border & counts).sum())
    return 2 * both / max(1, found + true)


def affinity_loss(logits: Tensor, target: Tensor, counts: Tensor) -> Tensor:
    """Cross-entropy of the affinities plus that of the foreground (last channel), each a mean over scored voxels.

    logits, target, counts: (B, C, D, H, W). Nothing scored: 0.
    """
    each = F.binary_cross_entropy_with_logits(logits.float(), target.float(), reduction="none")
    return _mean_scored(each[:, :-1], counts[:, :-1]) + _mean_scored(each[:, -1:], counts[:, -1:])


class AffinityTask:
    """Crops of several volumes for AffinityNet, for `loop.fit`.

    held_out: volumes that are scored only. mix_frequency, cut_mix: share of crops with another volume's low
    frequencies, and of crops with a box of another crop. thicken: share of the crops of an isotropic volume whose
    sections are averaged or thinned. bent: share of the crops that are turned by any angle and bent. erosion: voxels
    taken off each side of a border.
    """

    def __init__(
        self,
        volumes: list[Volume],
        architecture: Architecture,
        *,
        held_out: Sequence[Volume] = (),
        size: int = 1,
        seed: int = 0,
        rate: float = 1e-3,
        mix_frequency: float = 0.25,
        cut_mix: float = 0.25,
        thicken: float = 0.35,
        bent: float = 0.5,
        erosion: int = 1,
    ) -> None:
        # Copies of a volume that differ in grey alone share their labels.
        pieces = {
            id(labels): in_pieces(labels) for labels in {id(v.labels): v.labels for v in volumes}.values()
        }
        self.volumes = [replace(volume, labels=pieces[id(volume.labels)]) for volume in volumes]
        self.held_out = [replace(volume, labels=in_pieces(volume.labels)) for volume in held_out]
        shares = np.array([volume.share for volume in volumes], float)
        self.shares = shares / shares.sum()
        self.offsets = architecture.offsets
        self.shape = (architecture.depth, architecture.height, architecture.width)
        self.size, self.seed, self.rate = size, seed, rate
        self.mix_frequency, self.cut_mix = mix_frequency, cut_mix
        self.thicken, self.bent, self.erosion = thicken, bent, erosion

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Image (B, 1, D, H, W) float32, target and counts (B, C, D, H, W) uint8 of batch number `step`."""
        rng = np.random.default_rng([self.seed, step])
        # Half of the crops of anisotropic volumes are flatter and wider than the window; one shape a batch.
        crops: list[Crop] = []
        while len(crops) < self.size:
            crop = self._mixed_crop(rng)
            if not crops or crop[0].shape == crops[0][0].shape:
                crops.append(crop)
        return tuple(torch.from_numpy(np.stack(part)) for part in zip(*crops, strict=True))

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        image, target, counts = batch
        return affinity_loss(model(image), target, counts)

    def validate(self, model: nn.Module) -> float | None:
        """Mean over the held-out volumes of the F1 of borders (see border_f1); None without any.

        It tells a training that goes wrong. What matters needs the segmentation of a whole volume.
        """
        scores = [
            border_f1(model, volume, self.shape, erosion=self.erosion, offsets=self.offsets)
            for volume in self.held_out
        ]
        return float(np.mean(scores)) if scores else None

    def parameter_groups(self, model: nn.Module) -> list[dict]:
        """Convolution kernels with weight decay, norms and biases without."""
        kernels = [parameter for parameter in model.parameters() if parameter.dim() > 1]
        vectors = [parameter for parameter in model.parameters() if parameter.dim() <= 1]
        return [
            {"params": kernels, "rate": self.rate, "weight_decay": 0.01},
            {"params": vectors, "rate": self.rate, "weight_decay": 0.0},
        ]

    def _mixed_crop(self, rng: np.random.Generator) -> Crop:
        index = int(rng.choice(len(self.volumes), p=self.shares))
        shape, thickness = self._draw_shape(rng, self.volumes[index])
        donor = self._other(rng, index) if rng.random() < self.mix_frequency else None
        crop = self._crop(rng, index, shape, thickness, donor)
        if rng.random() < self.cut_mix:
            second = self._other(rng, index) if rng.random() < 0.5 else index
            other = self._crop(rng, second, shape, thickness, None)
            side = round(min(shape[1:]) * 70 / 128)
            crop = mixing.cut_mix(crop, other, mixing.draw_box(rng, shape, side))
        return crop

    def _draw_shape(self, rng: np.random.Generator, volume: Volume) -> tuple[tuple[int, int, int], int]:
        """The shape of a crop and how many sections make one of it."""
        flat = (self.shape[0] // 2, *(-(-round(side * 2**0.5) // 16) * 16 for side in self.shape[1:]))
        if not volume.isotropic:
            return (flat if rng.random() < 0.5 else self.shape), 1
        if rng.random() >= self.thicken:
            return self.shape, 1
        return flat, int(rng.choice(list(THICKER), p=list(THICKER.values())))

    def _other(self, rng: np.random.Generator, index: int) -> int:
        others = [other for other in range(len(self.volumes)) if other != index]
        return int(rng.choice(others)) if others else index

    def _crop(
        self,
        rng: np.random.Generator,
        index: int,
        shape: tuple[int, int, int],
        thickness: int,
        donor: int | None,
    ) -> Crop:
        volume = self.volumes[index]
        image, labels, voxel_size = _cut(rng, volume, shape, thickness, bent=rng.random() < self.bent)
        isotropic = voxel_size[0] < FLAT * max(voxel_size[1:])
        counts = np.ones(labels.shape, bool) if volume.membrane else labels > 0
        if donor is not None:
            other, *_ = _cut(rng, self.volumes[donor], shape, thickness, bent=False)
            image = mixing.mix_frequencies(image, other)
        image, labels, counts = sections.turn(rng, image, labels, counts)
        if not isotropic and rng.random() < 0.2:
            image, labels, counts = sections.misalign(rng, image, labels, counts)
        if rng.random() < 0.1:
            image, labels, counts = sections.end(rng, image, labels, counts)
        image = sections.change_image(rng, image, isotropic=isotropic)
        # A shift cuts bodies in two that still belong together: components are not made again.
        eroded, _ = erode(labels, steps=self.erosion, in_plane=not isotropic)
        return image[None], *targets(eroded, counts, self.offsets)


def _cut(
    rng: np.random.Generator, volume: Volume, shape: tuple[int, int, int], thickness: int, *, bent: bool
) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """(image float32 in [0, 1], labels, voxel size) of a crop; an isotropic volume is cut along any axis.

    Four in five thick sections are averages, the others thinned; a volume too small for thick ones gives thin ones,
    for a bent crop a straight one, and one smaller than the crop is reflected.
    """
    axes = [order for order in permutations(range(3)) if volume.isotropic or order[0] == 0]
    source = (shape[0] * thickness, *shape[1:])
    fitting = [order for order in axes if all(volume.image.shape[a] >= n for a, n in zip(order, source))]
    if not fitting and thickness > 1:
        return _cut(rng, volume, shape, thickness - 1, bent=bent)
    order = fitting[int(rng.integers(len(fitting)))] if fitting else (0, 1, 2)
    image, labels = (part.transpose(order) for part in (volume.image, volume.labels))
    voxel_size = tuple(volume.voxel_size[axis] for axis in order)
    crop = None
    if bent:
        crop = bend.bent_crop(
            rng, image, labels, source, voxel_size=voxel_size, in_plane=not volume.isotropic
        )
    image, labels = crop or _straight_crop(rng, image, labels, source)
    image = image.astype(np.float32) / 255
    if thickness == 1:
        return image, labels, voxel_size
    thick = sections.average if rng.random() < 0.8 else sections.thin
    return thick(image, labels, voxel_size, thickness)


def _straight_crop(
    rng: np.random.Generator, image: np.ndarray, labels: np.ndarray, shape: tuple[int, int, int]
) -> list[np.ndarray]:
    """Image and labels of a box of `shape` from anywhere; what is missing is reflected."""
    low = [int(rng.integers(0, max(have - want, 0) + 1)) for have, want in zip(image.shape, shape)]
    box = tuple(slice(start, start + want) for start, want in zip(low, shape))
    missing = [(0, max(want - have, 0)) for have, want in zip(image.shape, shape)]
    return [np.pad(part[box], missing, mode="symmetric") for part in (image, labels)]


def _along(volume: np.ndarray, axis: int, part: slice) -> np.ndarray:
    return volume[(slice(None),) * axis + (part,)]


def _pair(shape: tuple[int, ...], offset: Offset) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Slices of the voxels whose partner at the offset lies inside, and of these partners."""
    here = tuple(slice(max(-step, 0), length + min(-step, 0)) for step, length in zip(offset, shape))
    there = tuple(slice(max(step, 0), length + min(step, 0)) for step, length in zip(offset, shape))
    return here, there


def _mean_scored(each: Tensor, counts: Tensor) -> Tensor:
    return (each * counts).sum() / counts.sum().clamp(min=1)
