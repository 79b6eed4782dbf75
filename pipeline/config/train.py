"""Settings of train."""

from typing import Literal

from pydantic import field_validator

from pipeline.config.base import Settings, setting
from pipeline.errors import InputError


class Train(Settings):
    """Training of the network."""

    start: str = setting(
        "pipeline/weights/lm.safetensors",
        "Weights to begin with: a file made by train, or a 2D ViT (DINO's, timm's); empty: random.",
        why="few labels go far from weights that have seen neurites",
    )
    pretrain: Literal["none", "dino"] = setting(
        "none",
        "Of the workflow: dino pre-trains a 2D ViT first, by the settings of the section dino, and takes it for start.",
        why="the start was trained before",
    )
    transfer: Literal["scratch", "average", "center", "tubular"] = setting(
        "center",
        "How the start's 2D patch kernel meets the slices: all in the centre slice, even, or as bent tubes beside the "
        "centre's; scratch takes the sizes of the start and nothing else.",
        why="the better inflation in Cheng et al. 2024, and inference costs nothing more",
    )
    more_samples: str = setting(
        "",
        "Further training sheets (trained/lm.samples.tsv of other results folders), separated by spaces.",
        why="one's own data alone",
    )
    validation: str = setting(
        "",
        "Names of samples left out of the training (patterns with *, separated by spaces).",
        why="a quarter of each image is kept back and scored anyhow",
    )
    scatter: int = setting(
        1,
        "Voxels by which the lines of references may lie beside their neurites; 0 for trees that trace made.",
        why="lines drawn by hand do, after they were moved to what is bright near them",
        ge=0,
        le=5,
    )
    remade: int = setting(
        100,
        "Parts of the images to train on again: under other noise, or with neurites grown in.",
        why="real noise and real neurites are few; recombined they are many",
        ge=0,
    )
    simulated: int = setting(
        200,
        "Simulated scenes to train on beside the dataset.",
        why="what the labels lack: dim, beaded, crowded, noisy (docs/training.md)",
        ge=0,
    )
    simulated_share: float = setting(
        0.4, "Share of the windows that come from simulations.", why="docs/training.md", ge=0, le=1
    )
    empty_share: float = setting(
        0.25,
        "Share of the simulated scenes without any neurite: noise and haze only.",
        why="without them the network sees neurites in noise (OP_5, OP_8: docs/training.md)",
        ge=0,
        le=1,
    )
    steps: int = setting(2000, "Optimiser steps.", why="20 minutes on two cores with AMX", ge=1)
    batch: int = setting(12, "Windows in a step.", why="what fits the cache of a CPU", ge=1)
    encoder_rate: float = setting(
        2e-4,
        "Highest learning rate of the encoder's last block.",
        why="a fifth of the decoder's: the encoder was trained before",
        ge=0,
    )
    decoder_rate: float = setting(
        1e-3, "Highest learning rate of the decoder.", why="the usual rate of AdamW for convolutions", ge=0
    )
    layer_decay: float = setting(
        0.75,
        "Each block of the encoder learns at this fraction of the rate of the next.",
        why="the usual value for fine-tuning a small ViT (BEiT)",
        gt=0,
        le=1,
    )
    validate_every: int = setting(
        1000, "Steps between two validations.", why="a validation takes as long as 50 steps", ge=1
    )
    window: int = setting(
        128,
        "Edge (pixels) of a window; of a start made by train: its own.",
        why="128 and 256 cost the same a pixel, 128 makes cheaper steps",
        ge=32,
        multiple_of=16,
    )
    depth: int = setting(
        5,
        "Slices in a window, odd; of a start made by train: its own.",
        why="the light of a neurite is blurred over about so many slices; Cheng et al. 2024",
        ge=1,
    )
    norm: Literal["group", "none"] = setting(
        "group",
        "Behind the decoder's convolutions: GroupNorm (looks at the whole window) or nothing.",
        why="better by the training's own score; none takes less noise for neurite (docs/training.md)",
    )
    precision: Literal["auto", "fp32", "bf16"] = setting(
        "auto",
        "Arithmetic of the network; auto: bf16 on a GPU and on a CPU that multiplies it (AMX, AVX512-BF16), else fp32.",
        why="there bf16 takes half of the time, on other CPUs 2.2 times as long as fp32",
    )
    seed: int = setting(
        0, "Seed of windows, augmentation, simulations and new weights.", why="any will do", ge=0
    )

    @field_validator("depth")
    @classmethod
    def _odd(cls, depth: int) -> int:
        if depth % 2 == 0:
            raise InputError("train.depth", f"found {depth}", "an odd number: the middle slice is predicted")
        return depth
