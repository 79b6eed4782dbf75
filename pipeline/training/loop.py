"""The training loop: batch, loss, step, log, save. Killed at any step, it goes on from its last checkpoint.

What is learnt is a task: it makes the batches, says the loss, validates, and groups the parameters. Batches are a
function of (seed, step), so a resumed run sees those that it would have seen.
"""

import copy
import time
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from pipeline.errors import InputError
from pipeline.files import whole
from pipeline.training.step import Step

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
    the averaged model, empty in between). Raises InputError where weights are not finite any more; the last
    checkpoint is of before.
    """
    step_of = Step(model, task.loss, task.parameter_groups(model), bf16=bf16)
    averaged = copy.deepcopy(model)
    first = _resume(checkpoint, model, averaged, step_of, log, digest)
    rates = schedule(base=1.0, steps=steps, warmup=max(steps // 20, 1))
    loader = DataLoader(
        _Steps(task),
        sampler=range(first, steps),
        batch_size=None,
        num_workers=workers,
        pin_memory=step_of.cuda,
    )
    lines = _Lines(log)
    for step, batch in enumerate(loader, first):
        loss = step_of(batch, float(rates[step]))
        average(averaged, model, step)
        score = ""
        last = step + 1 == steps
        validates = (step + 1) % validate_every == 0 or last
        saves = (step + 1) % save_every == 0 or last
        if validates or saves:
            _require_finite(model, log, step)
        if validates:
            value = task.validate(averaged.eval())
            score = "" if value is None else f"{value:.4f}"
        lines.add(step, rates[step], loss, score)
        if saves:
            lines.write()
            _save(checkpoint, step + 1, model, averaged, step_of, digest)
    return averaged.eval()


class _Lines:
    """Lines of a log. Losses stay on the device until some are written: reading each would make it wait."""

    def __init__(self, log: Path) -> None:
        self.log, self.began = log, time.monotonic()
        self.held: list[tuple[int, float, Tensor, float, str]] = []

    def add(self, step: int, rate: float, loss: Tensor, score: str) -> None:
        self.held.append((step, rate, loss, time.monotonic() - self.began, score))
        if len(self.held) >= 50 or loss.device.type == "cpu":
            self.write()

    def write(self) -> None:
        with self.log.open("a") as file:
            for step, rate, loss, seconds, score in self.held:
                file.write(f"{step}\t{rate:.4g}\t{loss.item():.5f}\t{seconds:.1f}\t{score}\n")
        self.held = []


@torch.no_grad()
def average(averaged: nn.Module, model: nn.Module, step: int) -> None:
    """Move the averaged weights towards those of a step. Early on with a short memory: the start is forgotten."""
    decay = min(EMA, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), 1 - decay)
    for kept, current in zip(averaged.buffers(), model.buffers(), strict=True):
        kept.copy_(current)


def _require_finite(model: nn.Module, log: Path, step: int) -> None:
    """A loss may be finite where its gradient is not: the weights tell."""
    if not all(torch.isfinite(each).all() for each in model.parameters()):
        told = f"the training is lost: weights that are no numbers after step {step}"
        raise InputError(log, told, "a lower rate, or precision: fp32")


def _save(checkpoint: Path, step: int, model, averaged, step_of: Step, digest: str) -> None:
    state = {
        "step": step,
        "digest": digest,
        "model": model.state_dict(),
        "averaged": averaged.state_dict(),
        "optimiser": step_of.optimiser.state_dict(),
    }
    with whole(checkpoint) as private:
        torch.save(state, private)


def _resume(checkpoint: Path, model, averaged, step_of: Step, log: Path, digest: str) -> int:
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
    step_of.load_state_dict(state["optimiser"])
    lines = log.read_text().splitlines(keepends=True)[1 : state["step"] + 1] if log.is_file() else []
    log.write_text(header + "".join(lines))
    return state["step"]
