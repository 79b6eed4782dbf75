"""The trainings that tell what natural images bring to light microscopy, and by which transfer."""

import re
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import product
from pathlib import Path

from pipeline.config.ablation_lm import AblationLm
from pipeline.config.train import Train


@dataclass(frozen=True)
class Variant:
    """One training. trained_on: names of samples. start: a 2D ViT, where it is not the one that the others have."""

    transfer: str
    trained_on: tuple[str, ...]
    depth: int
    seed: int
    start: str = ""

    @property
    def name(self) -> str:
        """Of its files."""
        start = f"{Path(self.start).stem}-" if self.start else ""
        return f"{start}{self.transfer}-{len(self.trained_on)}-d{self.depth}-{self.seed}"

    def kind(self, budget: AblationLm) -> str:
        """What its rows of the table say of it: name=value,..."""
        told = {
            "start": Path(self.start or budget.start).stem or "dino",
            "transfer": self.transfer,
            "stacks": len(self.trained_on),
            "depth": self.depth,
            "seed": self.seed,
            "steps": budget.steps,
        }
        return ",".join(f"{name}={value}" for name, value in told.items())

    def settings(self, base: Train, budget: AblationLm, labelled: list[str], *, start: str) -> Train:
        """The settings of its training.

        base: the user's, for what is no part of the question. start: the 2D ViT that it begins with.
        """
        left_out = [name for name in labelled if name not in self.trained_on]
        return base.model_copy(
            update={
                "start": start,
                "transfer": self.transfer,
                "depth": self.depth,
                # Names may hold blanks, which separate patterns, and what patterns mean otherwise.
                "validation": " ".join(re.sub(r"[\s*\[\]]", "?", name) for name in left_out),
                "steps": budget.steps,
                "validate_every": budget.steps,
                "seed": self.seed,
            }
        )


def held_out(budget: AblationLm, labelled: list[str]) -> list[str]:
    """Samples that are scored: those of the patterns, or every third by name."""
    names = sorted(labelled)
    if budget.test:
        return [name for name in names if any(fnmatch(name, each) for each in budget.test.split())]
    return names[2::3]


def variants(budget: AblationLm, base: Train, labelled: list[str]) -> dict[str, Variant]:
    """All trainings by name; none where there is nothing to train on or to score."""
    scored = held_out(budget, labelled)
    rest = [name for name in sorted(labelled) if name not in scored]
    if not scored or not rest:
        return {}
    counts = [len(rest) if text == "all" else min(int(text), len(rest)) for text in budget.stacks.split(",")]
    sets = [tuple(rest[:count]) for count in sorted(set(counts))]
    seeds = range(budget.seeds)
    made = [
        Variant(transfer, names, base.depth, seed)
        for transfer, names, seed in product(budget.transfers.split(","), sets, seeds)
    ]
    depths = [int(text) for text in budget.depths.split(",") if text]
    made += [Variant("center", sets[-1], depth, seed) for depth, seed in product(depths, seeds)]
    starts = budget.starts.split()
    made += [Variant("center", sets[0], base.depth, seed, start) for start, seed in product(starts, seeds)]
    return {variant.name: variant for variant in made}
