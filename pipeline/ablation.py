"""The trainings that tell what each part of the training for electron microscopy brings."""

import re
from dataclasses import dataclass
from itertools import product

from pipeline.config.ablation import Ablation
from pipeline.config.train_em import TrainEm

ALL = "all"


@dataclass(frozen=True)
class Variant:
    """One training. trained_on: the name of a sample, or ALL. mixing: none, frequency, spatial or both."""

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

    def settings(self, base: TrainEm, budget: Ablation, labelled: list[str]) -> TrainEm:
        """The settings of its training; base: the user's, for what is no part of the question."""
        held_out = [name for name in labelled if self.trained_on not in (ALL, name)]
        changed = {
            "start": "",
            # Names may hold blanks, which separate patterns, and what patterns mean otherwise.
            "validation": " ".join(re.sub(r"[\s*\[\]]", "?", name) for name in held_out),
            "validation_share": budget.test_share,
            "label_share": float(self.labels),
            "pretrain": "gaussian_mask" if self.start == "pretrained" else "none",
            "pretrain_steps": budget.pretrain_steps,
            "steps": budget.steps,
            "validate_every": budget.steps,
            "seed": self.seed,
        }
        if self.mixing not in ("frequency", "both"):
            changed["mix_frequency"] = 0.0
        if self.mixing not in ("spatial", "both"):
            changed["cut_mix"] = 0.0
        return base.model_copy(update=changed)


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
