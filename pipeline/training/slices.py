"""The task of the slice segmenter: windows with the truth of their middle slice."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from pipeline import blocks, intensity
from pipeline.network.predict import predict_block
from pipeline.training.augment import overlay, sample_window
from pipeline.training.losses import slice_loss
from pipeline.training.material import Material
from pipeline.training.pairs import RIM, Pair

# Share of the windows that show two pairs at once, and how many slices of a pair are scored.
OVERLAID, SCORED = 0.1, 6


class SliceTask:
    """A training of the slice segmenter (pipeline.training.loop.Task).

    A batch is (window (B,1,D,S,S), target (B,1,S,S), weight (B,1,S,S)), all float32.
    """

    def __init__(
        self,
        material: Material,
        *,
        simulated_share: float,
        batch: int,
        depth: int,
        tile: int,
        seed: int,
        encoder_rate: float,
        decoder_rate: float,
        layer_decay: float,
    ) -> None:
        self.pairs = material.images + material.remade + material.scenes
        self.share, self.material = material.shares(simulated_share), material
        self.size, self.depth, self.tile, self.seed = batch, depth, tile, seed
        self.encoder_rate, self.decoder_rate, self.layer_decay = encoder_rate, decoder_rate, layer_decay

    def batch(self, step: int) -> tuple[Tensor, ...]:
        rng = np.random.default_rng([self.seed, step])
        windows = [self._window(rng) for _ in range(self.size)]
        return tuple(torch.from_numpy(np.stack(part)[:, None]) for part in zip(*windows, strict=True))

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        window, target, weight = batch
        return slice_loss(model(window), target, weight)

    def validate(self, model: nn.Module) -> float | None:
        """Mean foreground Dice of what was kept back, less ten times the share of noise that is taken for neurite.

        Half of the Dice is that of the images' parts, half that of the scenes. What each gives is printed.
        """
        kept = self.material
        parts = [
            [dice(model, pair) for pair in pairs] for pairs in (kept.judges, kept.judged_scenes) if pairs
        ]
        if not parts:
            return None
        false = [false_share(model, pair) for pair in kept.empty] or [0.0]
        told = [f"{pair.name} {value:.3f}" for pair, value in zip(kept.judges, parts[0])]
        told += [f"scenes {np.mean(parts[-1]):.3f}"] if kept.judged_scenes else []
        print(f"{', '.join(told)}; false {np.mean(false):.5f}, worst {max(false):.4f}", flush=True)
        return float(np.mean([np.mean(part) for part in parts]) - 10 * np.mean(false))

    def parameter_groups(self, model: nn.Module) -> list[dict]:
        """The decoder at its rate, block i of L at encoder_rate * layer_decay^(L - i), so that what is
        near the pixels moves least; no weight decay on vectors (biases, norms, class token). What bends tubes starts
        at zero and learns like the decoder."""
        count = len(model.encoder.blocks)
        groups: dict[tuple[float, bool], list] = {}
        for name, parameter in model.named_parameters():
            rate = self.decoder_rate
            bends = name.startswith(("encoder.patch_embed.gamma", "encoder.patch_embed.offsets"))
            if name.startswith("encoder.") and not bends:
                part = name.split(".")
                depth = int(part[2]) + 1 if part[1] == "blocks" else (count if part[1] == "norm" else 0)
                rate = self.encoder_rate * self.layer_decay ** (count - depth)
                if part[1] == "patch_embed":
                    rate = (
                        self.encoder_rate
                    )  # depth has to be learnt here: off-centre taps of Center start at zero
            decays = parameter.dim() > 1 and "token" not in name and not bends
            groups.setdefault((rate, decays), []).append(parameter)
        return [
            {"params": parameters, "rate": rate, "weight_decay": 0.05 if decays else 0.0}
            for (rate, decays), parameters in groups.items()
        ]

    def _window(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        def draw():
            pair = self.pairs[rng.choice(len(self.pairs), p=self.share)]
            return sample_window(rng, pair, depth=self.depth, tile=self.tile)

        return overlay(draw(), draw()) if rng.random() < OVERLAID else draw()


def dice(model: nn.Module, pair: Pair) -> float:
    """Foreground Dice (probability > .5) of one pair over some of its labelled slices, where the truth is known.

    The rim beside a neurite belongs to neither side, as in the loss.
    """
    planes = np.flatnonzero(pair.counts.any((1, 2)))
    planes = planes[len(planes) // 12 :: max(1, len(planes) // SCORED)][:SCORED]
    overlap, both = 0, 0
    for z, found in zip(planes, _predict(model, pair, planes)):
        truth = pair.distance[z] <= 0
        counts = pair.counts[z] & (truth | (pair.distance[z] > RIM))
        overlap += int((found & truth & counts).sum())
        both += int((found & counts).sum()) + int((truth & counts).sum())
    return 2 * overlap / max(1, both)


def false_share(model: nn.Module, pair: Pair) -> float:
    """Share of an empty pair's voxels that are taken for neurite, over two of its slices."""
    third = len(pair.image) // 3
    return float(np.mean(list(_predict(model, pair, np.array([third, 2 * third])))))


def _predict(model: nn.Module, pair: Pair, planes: np.ndarray) -> Iterator[np.ndarray]:
    """bool (y, x) of each of some slices of a pair: where neurite is more probable than not."""
    device = next(model.parameters()).device

    def run(windows: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            logits = model(windows[:, None]).float()
        return torch.sigmoid(logits)[:, :, None]

    sizes = model.architecture
    grid = blocks.make_grid(pair.image.shape, window=sizes.window, core=sizes.core, overlap=0.25)
    plan = blocks.make_plan(np.ones(grid.counts, bool), grid, plane=2**31, voxels=1)  # a slice at a time
    for z in planes:
        light = blocks.read_clamped(pair.image, grid.reach(plan.blocks[z]))
        yield (
            predict_block(
                run,
                intensity.share(light, pair.brightest, cleaned=pair.cleaned),
                plan.blocks[z],
                grid,
                device=device.type,
            )[0, 0]
            > 0.5
        )
