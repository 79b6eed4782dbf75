"""Settings of the ablation of light microscopy (snakemake ablation)."""

from pathlib import Path

from pydantic import field_validator, model_validator

from pipeline.config.base import Settings, setting
from pipeline.errors import InputError

TRANSFERS = ("scratch", "average", "center", "tubular")


class AblationLm(Settings):
    """What natural images bring, and which way into three dimensions: snakemake ablation."""

    start: str = setting(
        "",
        "The 2D ViT that all begin with; empty: what dino makes, where train.pretrain is dino.",
        why="none is shipped",
    )
    starts: str = setting(
        "",
        "Other 2D ViTs (files, separated by spaces), of Center on the smallest set alone.",
        why="how a transformer was pre-trained is a question of its own",
    )
    steps: int = setting(1500, "Optimiser steps of each training.", why="15 minutes on a core with AMX", ge=1)
    seeds: int = setting(
        3, "Trainings of each kind, from other seeds.", why="the least that tells a spread", ge=1
    )
    transfers: str = setting(
        "scratch,average,center,tubular", "Values of train.transfer, joined by commas.", why="all four"
    )
    stacks: str = setting(
        "1,all",
        "Training sets: the first so many samples by name, joined by commas.",
        why="what was learnt before is said to help most with few labels",
    )
    depths: str = setting(
        "1,3,9",
        "Slices in a window beside train.depth, of Center on the largest set alone; joined by commas.",
        why="how much several slices bring",
    )
    test: str = setting(
        "",
        "Samples that are scored and never trained on (patterns with *, separated by spaces); empty: every third.",
        why="any will do, as long as no choice hangs on them",
    )

    @field_validator("transfers")
    @classmethod
    def _known(cls, names: str) -> str:
        if not names or set(names.split(",")) - set(TRANSFERS):
            raise InputError("ablation_lm.transfers", f"found {names!r}", f"some of {','.join(TRANSFERS)}")
        return names

    @model_validator(mode="after")
    def _told_apart(self) -> "AblationLm":
        stems = [Path(name).stem for name in [self.start, *self.starts.split()]]
        if len(set(stems)) < len(stems):
            raise InputError("ablation_lm.starts", f"found {self.starts!r}", "files of different names")
        return self

    @field_validator("stacks", "depths")
    @classmethod
    def _counts(cls, text: str, info) -> str:
        parts = text.split(",") if text else []
        numbers = [part for part in parts if not (part == "all" and info.field_name == "stacks")]
        odd = info.field_name == "depths"
        if not all(n.isdigit() and int(n) > 0 and (int(n) % 2 or not odd) for n in numbers) or not (
            parts or odd
        ):
            allowed = "odd numbers joined by commas" if odd else "numbers or all, joined by commas"
            raise InputError(f"ablation_lm.{info.field_name}", f"found {text!r}", allowed)
        return text
