"""Settings of segment."""

from pydantic import model_validator

from pipeline.config.base import Settings, setting
from pipeline.errors import InputError


class Segment(Settings):
    """Probability of neurite to labels (light microscopy)."""

    high: float = setting(
        0.9,
        "A component needs one voxel of at least this probability.",
        why="best mean F1 over OP_1, 2, 4, 5 and 15 simulated stacks (docs/results.md)",
        gt=0,
        lt=1,
    )
    low: float = setting(
        0.5,
        "A component reaches down to this probability.",
        why="where the network is as sure as not; .6 is no better beyond the spread (docs/results.md)",
        gt=0,
        lt=1,
    )
    dim: float = setting(
        0.3,
        "Where the image itself shows light, a component reaches down to this probability (low and above: off).",
        why="best mean F1 over OP_1, 2, 4, 5; Dice of TRAILMAP's first volume .788, .778 without (docs/training.md)",
        gt=0,
        lt=1,
    )
    dim_signal: float = setting(
        3.0,
        "What counts as light there: so many times the noise above the background.",
        why="noise alone reaches it in one voxel of a thousand",
        ge=0,
    )
    min_size_um3: float = setting(
        3.0,
        "Smaller components (um^3) are dropped.",
        why="a neurite of .5 um radius and 4 um length; less is no branch of any reference",
        ge=0,
    )
    min_slices: int = setting(
        2,
        "Components seen in fewer slices are dropped: noise of one slice.",
        why="the network looks at each slice for itself and may see a line in the noise of one (OP_8)",
        ge=1,
    )

    @model_validator(mode="after")
    def _ordered(self) -> "Segment":
        if self.low > self.high:
            raise InputError("segment.low", f"found {self.low}, above high", f"at most high, {self.high}")
        return self
