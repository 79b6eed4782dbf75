"""The training loop: batch, loss, step, log, save. Killed at any step, it goes on from its last checkpoint.

What is learnt is a task: it makes the batches, says the loss, validates, and groups the parameters. Batches are a
function of (seed, step), so a resumed run sees those that it would have seen.
"""

import time
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader, Dataset

from pipeline.files import whole

EMA = 0.999  # weights are averaged over about the last thousand steps: one step's noise is not shipped


class Task(Protocol):
    """What `fit` trains a model for."""

    def batch(self, step: int) -> tuple[Tensor, ...]:
        """The batch of a step, on the CPU; called in other processes too."""

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        """A scalar; the batch is on the model's device. Called under autocast."""

    def validate(self, model: nn.Module) -> float | None:
        """A score, higher is better, of a model in evaluation mode; None where nothing is held out."""

    def parameter_groups(self, model: nn.Module) -> list[dict]:
        """[{"params", "rate": highest learning rate, "weight_decay"}, ...]"""


class _Steps(Dataset):
    """The batches of a task, for a DataLoader."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def __getitem__(self, step: int) -> tuple[Tensor, ...]:
        return self.task.batch(step)


def schedule(*, base: float, steps: int, warmup: int) -> np.ndarray:
    """(steps,) factors: linear from 0 to base over `warmup` steps, then cosine to 0."""
    step = np.arange(steps)
    rising = step / max(warmup, 1)
    falling = 0.5 * (1 + np.cos(np.pi * (step - warmup) / max(steps - warmup, 1)))
    return base * np.where(step < warmup, rising, falling)


def fit(
    model: nn.Module,
    task: Task,
    *,
    steps: int,
    checkpoint: Path,
    log: Path,
    digest: str = "",
    validate_every: int = 1000,
    save_every: int = 250,
    workers: int = 1,
    bf16: bool = False,
) -> nn.Module:
    """Train `model` in place for `steps` batches of the task; return the averaged model.

    checkpoint: file to continue from and to save to; one of another digest (settings, samples) is put aside, and the
    training begins anew. log: TSV, one line a step (step, rate, loss, seconds, score: what `task.validate` gives for
    the averaged model, empty in between).
    """
    device = next(model.parameters()).device
    groups = [{"lr": 0.0, **group} for group in task.parameter_groups(model)]
    optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)
    averaged = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=_ema)
    first = _resume(checkpoint, model, averaged, optimiser, log, digest)
    rates = schedule(base=1.0, steps=steps, warmup=max(steps // 20, 1))
    loader = DataLoader(_Steps(task), sampler=range(first, steps), batch_size=None, num_workers=workers)
    began = time.monotonic()
    for step, batch in enumerate(loader, first):
        for group in optimiser.param_groups:
            group["lr"] = group["rate"] * float(rates[step])
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16), sdpa_kernel(_attention(device)):
            loss = task.loss(model, tuple(part.to(device) for part in batch))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        averaged.update_parameters(model)
        score = ""
        if (step + 1) % validate_every == 0 or step + 1 == steps:
            value = task.validate(averaged.module.eval())
            score = "" if value is None else f"{value:.4f}"
            averaged.module.train()
        with log.open("a") as file:
            seconds = time.monotonic() - began
            file.write(f"{step}\t{rates[step]:.4g}\t{loss.item():.5f}\t{seconds:.1f}\t{score}\n")
        if (step + 1) % save_every == 0 or step + 1 == steps:
            _save(checkpoint, step + 1, model, averaged, optimiser, digest)
    return averaged.module.eval()


def _attention(device: torch.device) -> list[SDPBackend]:
    """On a CPU the backward pass of flash attention takes a third of the step; plain matrix products do not."""
    if device.type == "cpu":
        return [SDPBackend.MATH]
    return [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


def _ema(averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
    # Early on a short memory: the average must not remember the start.
    decay = min(EMA, (1 + int(count)) / (10 + int(count)))
    torch._foreach_lerp_(averaged, current, 1 - decay)


def _save(checkpoint: Path, step: int, model, averaged, optimiser, digest: str) -> None:
    state = {
        "step": step,
        "digest": digest,
        "model": model.state_dict(),
        "averaged": averaged.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    with whole(checkpoint) as private:
        torch.save(state, private)


def _resume(checkpoint: Path, model, averaged, optimiser, log: Path, digest: str) -> int:
    """Load a checkpoint if there is one; cut the log's lines that were written after it; return the next step."""
    log.parent.mkdir(parents=True, exist_ok=True)
    header = "step\trate\tloss\tseconds\tscore\n"
    state = None
    if checkpoint.is_file():
        # To the CPU first: the checkpoint may be from a machine with a GPU. What loads it copies to its device.
        state = torch.load(checkpoint, weights_only=True, map_location="cpu")
        if state.get("digest") != digest:
            aside = checkpoint.with_name(f"{checkpoint.name}.other")
            checkpoint.replace(aside)
            print(
                f"{checkpoint}: of other settings or samples, put aside as {aside.name}: beginning anew",
                flush=True,
            )
            state = None
    if state is None:
        log.write_text(header)
        return 0
    model.load_state_dict(state["model"])
    averaged.load_state_dict(state["averaged"])
    optimiser.load_state_dict(state["optimiser"])
    lines = log.read_text().splitlines(keepends=True)[1 : state["step"] + 1] if log.is_file() else []
    log.write_text(header + "".join(lines))
    return state["step"]
