"""Settings of the ablation of electron microscopy (snakemake ablation_em)."""

from pydantic import field_validator

from pipeline.config.base import Settings, setting
from pipeline.errors import InputError

STARTS = SCRATCH, PRETRAINED = ("scratch", "pretrained")
MIXINGS = ("none", "frequency", "spatial", "both")


class Ablation(Settings):
    """What each part of the training for electron microscopy brings: snakemake ablation_em."""

    steps: int = setting(
        300, "Optimiser steps of each training.", why="an equal, small budget: minutes", ge=1
    )
    pretrain_steps: int = setting(
        300, "Steps of the pre-training, where there is one.", why="as many as steps", ge=1
    )
    seeds: int = setting(
        2, "Trainings of each kind, from other seeds.", why="the least that has a spread", ge=1
    )
    starts: str = setting(
        "scratch,pretrained", "Of random weights, or of pre-trained ones; joined by commas.", why="both"
    )
    mixings: str = setting(
        "none,frequency,spatial,both", "Which domains are mixed, joined by commas.", why="all four"
    )
    label_shares: str = setting(
        "1,0.25",
        "Shares of the labels, joined by commas.",
        why="pre-training is said to help most with few labels",
    )
    test_share: float = setting(
        0.2,
        "The last part of every volume along z: scored, never trained on.",
        why="neighbouring sections are too alike to be drawn at random",
        gt=0,
        lt=1,
    )
    betas: str = setting(
        "0.3,0.5,0.7",
        "Betas of the multicut, joined by commas; the best one on what was trained on is taken.",
        why="a weak network needs another beta than a strong one",
    )

    @field_validator("starts", "mixings")
    @classmethod
    def _known(cls, names: str, info) -> str:
        known = STARTS if info.field_name == "starts" else MIXINGS
        if not names or set(names.split(",")) - set(known):
            raise InputError(f"ablation.{info.field_name}", f"found {names!r}", f"some of {','.join(known)}")
        return names

    @field_validator("label_shares", "betas")
    @classmethod
    def _shares(cls, text: str, info) -> str:
        try:
            numbers = [float(part) for part in text.split(",")]
        except ValueError:
            numbers = [0.0]
        if not all(0 < number < 1 or (number == 1 and info.field_name != "betas") for number in numbers):
            allowed = "numbers between 0 and 1 joined by commas"
            raise InputError(f"ablation.{info.field_name}", f"found {text!r}", allowed)
        return text
