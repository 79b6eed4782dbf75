"""Settings of infer."""

from typing import Literal

from pipeline.config.base import Settings, setting


class Infer(Settings):
    """What the network makes of each voxel."""

    precision: Literal["auto", "fp32", "bf16"] = setting(
        "auto",
        "Arithmetic of the network; auto: bf16 on a GPU and on a CPU that multiplies it (AMX, AVX512-BF16), else fp32.",
        why="there bf16 is 1.8 (slices) to 3.2 times (affinities) faster, on other CPUs 2.2 times slower",
    )
    views: int = setting(
        2,
        "Views of a window whose answers are averaged: as it is, turned by 180 degrees, mirrored (light microscopy).",
        why="false neurite beside real one goes (docs/training.md); each view costs the time of one",
        ge=1,
        le=4,
    )
