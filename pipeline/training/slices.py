"""The task of the slice segmenter: windows with the truth of their middle slice."""

import numpy as np
import torch
from torch import Tensor, nn

from pipeline import blocks
from pipeline.blocks import Grid
from pipeline.network.predict import predict_block
from pipeline.training.augment import overlay, sample_window
from pipeline.training.losses import slice_loss
from pipeline.training.pairs import RIM, Pair

# Share of the windows that show two pairs at once, and how many labelled slices of a held-out pair are scored.
OVERLAID, SCORED = 0.15, 16


class SliceTask:
    """A training of the slice segmenter (pipeline.training.loop.Task).

    pairs: to train on, share: (pairs,) of the windows that each gives; held_out: scored only. A batch is (window
    (B,1,D,S,S), target (B,1,S,S), weight (B,1,S,S)), all float32.
    """

    def __init__(
        self,
        pairs: list[Pair],
        share: np.ndarray,
        *,
        held_out: list[Pair],
        batch: int,
        depth: int,
        tile: int,
        seed: int,
        encoder_rate: float,
        decoder_rate: float,
        layer_decay: float,
    ) -> None:
        self.pairs, self.share, self.held_out = pairs, share / share.sum(), held_out
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
        """Mean foreground Dice (probability > .5) over the held-out pairs."""
        return float(np.mean([dice(model, pair) for pair in self.held_out])) if self.held_out else None

    def parameter_groups(self, model: nn.Module) -> list[dict]:
        """The decoder at its rate, block i of L at encoder_rate * layer_decay^(L - i), so that what is
        near the pixels moves least; no weight decay on vectors (biases, norms, class token)."""
        count = len(model.encoder.blocks)
        groups: dict[tuple[float, bool], list] = {}
        for name, parameter in model.named_parameters():
            rate = self.decoder_rate
            if name.startswith("encoder."):
                part = name.split(".")
                depth = int(part[2]) + 1 if part[1] == "blocks" else (count if part[1] == "norm" else 0)
                rate = self.encoder_rate * self.layer_decay ** (count - depth)
                if part[1] == "patch_embed":
                    rate = (
                        self.encoder_rate
                    )  # depth has to be learnt here: off-centre taps of Center start at zero
            groups.setdefault((rate, parameter.dim() > 1 and "token" not in name), []).append(parameter)
        return [
            {"params": parameters, "rate": rate, "weight_decay": 0.05 if decays else 0.0}
            for (rate, decays), parameters in groups.items()
        ]

    def _window(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        def draw():
            pair = self.pairs[rng.choice(len(self.pairs), p=self.share)]
            return sample_window(rng, pair, depth=self.depth, tile=self.tile)

        return overlay(draw(), draw()) if rng.random() < OVERLAID else draw()


def shares(trained: int, scenes: int, *, simulated_share: float) -> np.ndarray:
    """(trained + scenes,) share of the windows that each pair gives: even among images, even among scenes."""
    simulated = simulated_share if trained and scenes else float(scenes > 0)
    return np.concatenate(
        [np.full(trained, (1 - simulated) / max(trained, 1)), np.full(scenes, simulated / max(scenes, 1))]
    )


def dice(model: nn.Module, pair: Pair) -> float:
    """Foreground Dice of one pair over some of its labelled slices, where the truth is known.

    The rim beside a neurite belongs to neither side, as in the loss.
    """
    device = next(model.parameters()).device

    def run(windows: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            logits = model(torch.from_numpy(windows)[:, None].to(device)).float()
        return torch.sigmoid(logits).cpu().numpy()[:, :, None]

    sizes = model.architecture
    labelled = np.flatnonzero(pair.counts.any((1, 2)))
    planes = labelled[:: max(1, len(labelled) // SCORED)]
    stride = blocks.strides(sizes.core, 0.25)
    grid = Grid(pair.image.shape, window=sizes.window, core=sizes.core, stride=stride)
    overlap, predicted, true = 0, 0, 0
    signal = np.zeros(grid.counts, bool)
    signal[planes] = True
    plan = blocks.make_plan(signal, grid, plane=2**31, voxels=1)  # a slice at a time
    for z in planes:
        block = plan.blocks[z]
        grey = blocks.read_clamped(pair.image, grid.reach(block)).astype(np.float32)
        found = predict_block(run, grey, block, grid)[0, 0] > 0.5
        distance = pair.distance[z]
        truth = distance <= 0
        counts = pair.counts[z] & (truth | (distance > RIM))
        overlap += int((found & truth & counts).sum())
        predicted, true = predicted + int((found & counts).sum()), true + int((truth & counts).sum())
    return 2 * overlap / max(1, predicted + true)
