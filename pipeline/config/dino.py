"""Settings of dino."""

from pydantic import model_validator

from pipeline.config.base import Settings, setting
from pipeline.errors import InputError


class Dino(Settings):
    """Pre-training of a 2D vision transformer on pictures without labels (DINO, Caron et al. 2021)."""

    pictures: str = setting(
        "",
        "Folders or tar files of pictures, separated by spaces; the word stacks: the dataset's own images.",
        why="none: nothing of the kind is shipped",
    )
    judged: str = setting(
        "",
        "Folder of pictures, or folder within the tar files, with a folder a class: never trained on, "
        "their nearest neighbours tell what was learnt.",
        why="what a pre-training is worth cannot be seen in its loss",
    )
    start: str = setting(
        "",
        "A 2D ViT to go on from (its sizes are taken); empty: a ViT-Tiny of random weights.",
        why="from scratch, so that the card is simple",
    )
    patch: int = setting(
        16, "Pixels of a patch of new weights, 8 or 16.", why="a quarter of the cost of 8", ge=8
    )
    steps: int = setting(3000, "Optimiser steps.", why="two minutes on a GPU", ge=1)
    batch: int = setting(256, "Pictures in a step.", why="half of the least that the paper tried", ge=2)
    local: int = setting(
        6, "Local crops of each picture, beside two global ones.", why="8 in the paper", ge=0
    )
    size: int = setting(
        128, "Edge (pixels) of a global crop.", why="a window of the segmenter", ge=32, multiple_of=16
    )
    local_size: int = setting(
        48, "Edge (pixels) of a local crop.", why="the paper's 96 of 224", ge=16, multiple_of=16
    )
    outputs: int = setting(
        4096, "Outputs of the head.", why="the paper's 65536 serve 1.3 million pictures", ge=2
    )
    hidden: int = setting(512, "Width of the head's layers.", why="a quarter of the paper's", ge=1)
    rate: float = setting(
        5e-4, "Highest learning rate of a batch of 256; it grows with the batch.", why="the paper's", gt=0
    )
    momentum: float = setting(
        0.99,
        "Of the teacher at the first step; it rises to 1.",
        why="a memory of 100 steps; the paper's .996 serves trainings a hundred times longer",
        ge=0,
        lt=1,
    )
    seed: int = setting(0, "Seed of crops and new weights.", why="any will do", ge=0)

    @model_validator(mode="after")
    def _patches(self) -> "Dino":
        for name in ("size", "local_size"):
            if getattr(self, name) % self.patch:
                raise InputError(
                    f"dino.{name}", f"found {getattr(self, name)}", f"a multiple of {self.patch}"
                )
        return self
