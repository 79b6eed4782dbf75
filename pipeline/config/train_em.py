"""Settings of train_em."""

from typing import Literal

from pydantic import field_validator, model_validator

from pipeline.config.base import Settings, setting
from pipeline.errors import InputError

LEVELS_OF_NETWORK, POOLING_STEPS = 5, 4


class TrainEm(Settings):
    """Training of the network for electron microscopy."""

    start: str = setting(
        "pipeline/weights/em.safetensors",
        "Weights to begin with, made by train_em: they keep their sizes; empty: random.",
        why="few labels go far from weights that have seen membranes",
    )
    preset: Literal["cpu", "gpu", "paper"] = setting(
        "gpu",
        "Sizes of a new network: 2, 9 or 81 MB of weights.",
        why="the size of the shipped weights",
    )
    widths: str = setting(
        "",
        "Channels of its five levels instead of the preset's, joined by commas, e.g. 8,12,16,24,32.",
        why="the presets are enough",
    )
    depth: int = setting(
        32, "Sections in a window of a new network.", why="as in most networks for EM; 20 in SegNeuron", ge=2
    )
    height: int = setting(
        64,
        "Height (pixels) of a window of a new network.",
        why="small windows make cheap steps on a CPU; 128 on a GPU",
        ge=16,
        multiple_of=16,
    )
    width: int = setting(64, "Width (pixels) of it.", why="see height", ge=16, multiple_of=16)
    z_pooled: str = setting(
        "auto",
        "Which of the four 3D steps of a new network halve the depth: auto (not while sections are thicker than "
        "pixels), depth (while there are 8 sections), or four of 0 and 1, e.g. 1100.",
        why="a level should see as far in z as in plane",
    )
    long_range: bool = setting(
        True,
        "A new network also learns affinities 3 sections and 6 pixels away.",
        why="they teach it to look further than the next voxel, and serve the mutex watershed",
    )
    pretrain: Literal["none", "gaussian_mask"] = setting(
        "none",
        "Without labels first, on the images of all samples that are not held out.",
        why="the shipped weights need none",
    )
    pretrain_steps: int = setting(2000, "Optimiser steps of the pre-training.", why="as many as steps", ge=1)
    more_samples: str = setting(
        "",
        "Further training sheets (trained/em.samples.tsv of other results folders), separated by spaces.",
        why="one's own data alone",
    )
    validation: str = setting(
        "",
        "Names of samples held out (patterns with *, separated by spaces): scored, never trained on.",
        why="with few samples all of them teach more than a score of one says",
    )
    validation_share: float = setting(
        0.0, "The last part of every volume along z, held out likewise.", why="see validation", ge=0, lt=1
    )
    label_share: float = setting(
        1.0,
        "The first part of what remains along z whose labels are used; the rest is as if unlabelled.",
        why="to find out what fewer labels would give",
        gt=0,
        le=1,
    )
    membrane: str = setting(
        "",
        "Names of samples (patterns) whose label 0 is membrane; elsewhere it is unlabelled and teaches nothing.",
        why="holes in an annotation must not become membranes",
    )
    mix_frequency: float = setting(
        0.25,
        "Share of the crops that get the low frequencies of another volume.",
        why="SegNeuron's",
        ge=0,
        le=1,
    )
    cut_mix: float = setting(
        0.25, "Share of the crops with a box of another crop in it.", why="SegNeuron's", ge=0, le=1
    )
    thicken: float = setting(
        0.35,
        "Share of the crops of isotropic volumes whose sections are made 2 to 5 times as thick.",
        why="one network for both kinds of microscope",
        ge=0,
        le=1,
    )
    bent: float = setting(
        0.5,
        "Share of the crops that are turned by any angle, made up to 15 % larger or smaller, and bent; where a volume "
        "has no room for that they are turned in plane, or only bent, or stay as they are.",
        why="membranes lie in any direction, labelled volumes are small",
        ge=0,
        le=1,
    )
    stretched: float = setting(
        0.5,
        "Share of the crops whose grey is stretched to the volume's own black and white.",
        why="volumes are delivered with either contrast",
        ge=0,
        le=1,
    )
    erosion: int = setting(
        1,
        "Voxels taken off each side of a border between two cells: there the membrane is learnt.",
        why="labels that touch have no membrane of their own; SegNeuron takes 1 or 2",
        ge=0,
        le=5,
    )
    steps: int = setting(
        2000,
        "Optimiser steps; 0: the pre-training alone.",
        why="three quarters of an hour on a core with AMX in bf16",
        ge=0,
    )
    batch: int = setting(1, "Crops in a step.", why="on a CPU steps teach more than crops; 8 on a GPU", ge=1)
    rate: float = setting(
        0.0005,
        "Highest learning rate.",
        why="half the usual rate of AdamW: the start was trained before; from scratch 0.001 to 0.0015",
        gt=0,
    )
    validate_every: int = setting(
        500, "Steps between two validations.", why="a validation takes as long as 10 to 20 steps", ge=1
    )
    precision: Literal["auto", "fp32", "bf16"] = setting(
        "auto",
        "Arithmetic of the network; auto: bf16 on a GPU and on a CPU that multiplies it (AMX, AVX512-BF16), else fp32.",
        why="bf16 takes a fifth of the time with AMX, a third with AVX512-BF16, and longer than fp32 on other CPUs",
    )
    seed: int = setting(0, "Seed of crops, augmentation and new weights.", why="any will do", ge=0)

    @field_validator("widths")
    @classmethod
    def _five(cls, widths: str) -> str:
        parts = widths.split(",") if widths else []
        if parts and not (len(parts) == LEVELS_OF_NETWORK and all(p.isdecimal() and int(p) for p in parts)):
            allowed = f"{LEVELS_OF_NETWORK} whole numbers joined by commas, e.g. 8,12,16,24,32"
            raise InputError("train_em.widths", f"found {widths!r}", allowed)
        return widths

    @field_validator("z_pooled")
    @classmethod
    def _pattern(cls, pattern: str) -> str:
        if pattern not in ("auto", "depth") and not (
            len(pattern) == POOLING_STEPS and set(pattern) <= set("01")
        ):
            raise InputError(
                "train_em.z_pooled", f"found {pattern!r}", "auto, depth, or four of 0 and 1, e.g. 1100"
            )
        return pattern

    @model_validator(mode="after")
    def _depth_suffices(self) -> "TrainEm":
        # Every other crop is half as deep as the window.
        if set(self.z_pooled) <= set("01") and self.depth < (least := 2 << self.z_pooled.count("1")):
            found = f"found {self.depth} with z_pooled={self.z_pooled}"
            raise InputError("train_em.depth", found, f"{least} or more")
        if self.pretrain == "gaussian_mask" and not self.start and self.depth % 2 and self.depth % 5:
            found = f"found {self.depth} with pretrain=gaussian_mask"
            raise InputError(
                "train_em.depth", found, "a multiple of 2 or 5: blocks of noise must fill a window"
            )
        return self
