"""Settings of infer."""

from typing import Literal

from pipeline.config.base import Settings, setting


class Infer(Settings):
    """What the network makes of each voxel."""

    precision: Literal["auto", "fp32", "bf16"] = setting(
        "auto",
        "Arithmetic of the network; auto: bf16 on a GPU and on a CPU with AMX, else fp32.",
        why="on a CPU with AMX bf16 is 1.8 (slices) to 3.2 times (affinities) faster, on one without 2.2 times slower",
    )
