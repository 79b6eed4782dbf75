"""The trainings that tell what each part of the training for electron microscopy brings.

Trainings that begin with pre-trained weights and share volumes and seed share the pre-training.
"""

import re
from dataclasses import dataclass, replace
from itertools import product

from pipeline.config.ablation import PRETRAINED, Ablation
from pipeline.config.train_em import TrainEm

ALL = "all"


@dataclass(frozen=True)
class Variant:
    """One training. trained_on: the name of a sample, or ALL. start: SCRATCH or PRETRAINED.

    mixing: none, frequency, spatial or both. labels: share of them, as the settings write it.
    """

    trained_on: str
    start: str
    mixing: str
    labels: str
    seed: int

    @property
    def name(self) -> str:
        """Of its files."""
        which = ALL if self.trained_on == ALL else f"only_{self.trained_on}"
        return f"{which}-{self.start}-{self.mixing}-{self.labels}-{self.seed}"

    @property
    def pretraining(self) -> str:
        """Name of the pre-training that it begins with; empty: none."""
        which = replace(self, mixing="none", labels="1")
        return f"before_{which.name}" if self.start == PRETRAINED else ""

    def settings(self, base: TrainEm, budget: Ablation, labelled: list[str], *, start: str) -> TrainEm:
        """The settings of its training; base: the user's, for what is no part of the question.

        start: the weights of its pre-training; empty where it has none.
        """
        changed = {
            "start": start,
            "label_share": float(self.labels),
            "steps": budget.steps,
            "validate_every": budget.steps,
        }
        if self.mixing not in ("frequency", "both"):
            changed["mix_frequency"] = 0.0
        if self.mixing not in ("spatial", "both"):
            changed["cut_mix"] = 0.0
        return base.model_copy(update=self._volumes(budget, labelled) | changed)

    def settings_before(self, base: TrainEm, budget: Ablation, labelled: list[str]) -> TrainEm:
        """The settings of its pre-training."""
        changed = {
            "start": "",
            "label_share": 1.0,
            "pretrain": "gaussian_mask",
            "pretrain_steps": budget.pretrain_steps,
            "steps": 0,
        }
        return base.model_copy(update=self._volumes(budget, labelled) | changed)

    def _volumes(self, budget: Ablation, labelled: list[str]) -> dict[str, object]:
        """What training and pre-training have in common, as settings."""
        held_out = [name for name in labelled if self.trained_on not in (ALL, name)]
        return {
            # Names may hold blanks, which separate patterns, and what patterns mean otherwise.
            "validation": " ".join(re.sub(r"[\s*\[\]]", "?", name) for name in held_out),
            "validation_share": budget.test_share,
            "pretrain": "none",
            "seed": self.seed,
        }


def variants(budget: Ablation, labelled: list[str]) -> dict[str, Variant]:
    """All trainings by name: on each labelled sample alone and, where there are several, on all of them."""
    sets = [*labelled, *([ALL] if len(labelled) > 1 else [])]
    made = [
        Variant(*which)
        for which in product(
            sets,
            budget.starts.split(","),
            budget.mixings.split(","),
            budget.label_shares.split(","),
            range(budget.seeds),
        )
    ]
    return {variant.name: variant for variant in made}


def pretrainings(trainings: dict[str, Variant]) -> dict[str, Variant]:
    """A training for each pre-training that some begin with, by the name of the latter."""
    return {each.pretraining: each for each in trainings.values() if each.pretraining}
