"""The training loop: batch, loss, step, log, save. Killed at any step, it goes on from its last checkpoint.

Windows are drawn from a generator seeded by (seed, step), so a resumed run sees the batches it would have seen.
"""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pipeline.files import whole
from pipeline.network.vit3d import SliceSegmenter
from pipeline.training.augment import overlay, sample_window
from pipeline.training.losses import slice_loss
from pipeline.training.pairs import Pair

EMA = 0.999  # weights are averaged over about the last thousand steps: one step's noise is not shipped


class Batches(Dataset):
    """Batch number `step` as tensors (window (B,1,D,S,S), target (B,1,S,S), weight (B,1,S,S))."""

    def __init__(
        self, pairs: list[Pair], share: np.ndarray, *, size: int, depth: int, tile: int, seed: int
    ) -> None:
        self.pairs, self.share = pairs, share / share.sum()
        self.size, self.depth, self.tile, self.seed = size, depth, tile, seed

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        rng = np.random.default_rng([self.seed, step])
        windows = [self._window(rng) for _ in range(self.size)]
        return tuple(torch.from_numpy(np.stack(part)[:, None]) for part in zip(*windows, strict=True))

    def _window(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        def draw():
            pair = self.pairs[rng.choice(len(self.pairs), p=self.share)]
            return sample_window(rng, pair, depth=self.depth, tile=self.tile)

        return overlay(draw(), draw()) if rng.random() < 0.15 else draw()


def schedule(*, base: float, steps: int, warmup: int) -> np.ndarray:
    """(steps,) factors: linear from 0 to base over `warmup` steps, then cosine to 0."""
    step = np.arange(steps)
    rising = step / max(warmup, 1)
    falling = 0.5 * (1 + np.cos(np.pi * (step - warmup) / max(steps - warmup, 1)))
    return base * np.where(step < warmup, rising, falling)


def parameter_groups(
    model: SliceSegmenter, *, encoder_rate: float, decoder_rate: float, layer_decay: float
) -> list[dict]:
    """AdamW groups: the decoder at its rate, block i of L at encoder_rate * layer_decay^(L - i), so that what is
    near the pixels moves least; no weight decay on vectors (biases, norms, class token)."""
    count = len(model.encoder.blocks)
    groups: dict[tuple[float, bool], list] = {}
    for name, parameter in model.named_parameters():
        rate = decoder_rate
        if name.startswith("encoder."):
            part = name.split(".")
            depth = int(part[2]) + 1 if part[1] == "blocks" else (count if part[1] == "norm" else 0)
            rate = encoder_rate * layer_decay ** (count - depth)
            if part[1] == "patch_embed":
                rate = encoder_rate  # depth has to be learnt here: off-centre taps of Center start at zero
        groups.setdefault((rate, parameter.dim() > 1 and "token" not in name), []).append(parameter)
    return [
        {"params": parameters, "rate": rate, "lr": 0.0, "weight_decay": 0.05 if decays else 0.0}
        for (rate, decays), parameters in groups.items()
    ]


def fit(
    model: SliceSegmenter,
    batches: Batches,
    *,
    steps: int,
    checkpoint: Path,
    log: Path,
    validate: Callable[[SliceSegmenter], float] | None = None,
    validate_every: int = 1000,
    save_every: int = 250,
    encoder_rate: float = 2e-4,
    decoder_rate: float = 1e-3,
    layer_decay: float = 0.75,
    workers: int = 1,
    bf16: bool = False,
) -> SliceSegmenter:
    """Train `model` in place for `steps` batches; return the averaged model.

    checkpoint: file to continue from and to save to. log: TSV, one line a step (step, rate, loss, seconds,
    dice: the foreground Dice that `validate` gives for the averaged model, empty in between).
    """
    device = next(model.parameters()).device
    optimiser = torch.optim.AdamW(
        parameter_groups(
            model, encoder_rate=encoder_rate, decoder_rate=decoder_rate, layer_decay=layer_decay
        ),
        betas=(0.9, 0.98),
    )
    averaged = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=_ema)
    first = _resume(checkpoint, model, averaged, optimiser, log)
    rates = schedule(base=1.0, steps=steps, warmup=max(steps // 20, 1))
    loader = DataLoader(batches, sampler=range(first, steps), batch_size=None, num_workers=workers)
    began = time.monotonic()
    for step, (window, target, weight) in enumerate(loader, first):
        for group in optimiser.param_groups:
            group["lr"] = group["rate"] * float(rates[step])
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logit = model(window.to(device))
        loss = slice_loss(logit, target.to(device), weight.to(device))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        averaged.update_parameters(model)
        dice = ""
        if validate is not None and ((step + 1) % validate_every == 0 or step + 1 == steps):
            dice = f"{validate(averaged.module.eval()):.4f}"
            averaged.module.train()
        with log.open("a") as file:
            seconds = time.monotonic() - began
            file.write(f"{step}\t{rates[step]:.4g}\t{loss.item():.5f}\t{seconds:.1f}\t{dice}\n")
        if (step + 1) % save_every == 0 or step + 1 == steps:
            _save(checkpoint, step + 1, model, averaged, optimiser)
    return averaged.module.eval()


def _ema(averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
    # Early on a short memory: the average must not remember the start.
    decay = min(EMA, (1 + int(count)) / (10 + int(count)))
    torch._foreach_lerp_(averaged, current, 1 - decay)


def _save(checkpoint: Path, step: int, model, averaged, optimiser) -> None:
    state = {
        "step": step,
        "model": model.state_dict(),
        "averaged": averaged.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    with whole(checkpoint) as private:
        torch.save(state, private)


def _resume(checkpoint: Path, model, averaged, optimiser, log: Path) -> int:
    """Load a checkpoint if there is one; cut the log's lines that were written after it; return the next step."""
    log.parent.mkdir(parents=True, exist_ok=True)
    header = "step\trate\tloss\tseconds\tdice\n"
    if not checkpoint.is_file():
        log.write_text(header)
        return 0
    state = torch.load(checkpoint, weights_only=True)
    model.load_state_dict(state["model"])
    averaged.load_state_dict(state["averaged"])
    optimiser.load_state_dict(state["optimiser"])
    lines = log.read_text().splitlines(keepends=True)[1 : state["step"] + 1] if log.is_file() else []
    log.write_text(header + "".join(lines))
    return state["step"]
