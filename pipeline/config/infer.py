"""Settings of infer."""

from typing import Literal

from pipeline.config.base import Settings, setting


class Infer(Settings):
    """What the network makes of each voxel."""

    precision: Literal["auto", "fp32", "bf16"] = setting(
        "auto",
        "Arithmetic of the network; auto: bf16 on a GPU and on a CPU with AMX, else fp32.",
        why="bf16 is 2.2 times slower than fp32 on a CPU without AMX and three times faster on one with it",
    )
