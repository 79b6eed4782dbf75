"""Every setting, once: name, type, bounds, default, meaning and the reason for the default; one section a stage.

`config.yaml`, the JSON schema, docs/settings.md and the command-line options are made from these classes
(`python -m pipeline settings --write`; see config_files.py). Settings are scalars, and only what changes the
bytes of a result is a setting: device, batch size and threads of a stage come from its environment, so that
a result never looks out of date because it was made on another machine.
"""

from typing import Any, Literal, get_args

from pydantic import ValidationError, field_validator

from pipeline.config.ablation import Ablation
from pipeline.config.ablation_lm import AblationLm
from pipeline.config.agglomerate import Agglomerate
from pipeline.config.base import (
    Settings,
    describe,
    dotted,
    explain,
    options,
    parse_triple,
    section_of,
    setting,
)
from pipeline.config.dino import Dino
from pipeline.config.draw import Draw
from pipeline.config.evaluate import Evaluate
from pipeline.config.infer import Infer
from pipeline.config.segment import Segment
from pipeline.config.simulate import Simulate
from pipeline.config.skeletonize import Skeletonize
from pipeline.config.tile import Tile
from pipeline.config.trace import Trace
from pipeline.config.train import Train
from pipeline.config.train_em import TrainEm
from pipeline.errors import InputError

__all__ = [
    "MODALITIES",
    "Config",
    "Modality",
    "Settings",
    "describe",
    "dotted",
    "explain",
    "load",
    "options",
    "parse_triple",
    "sections",
]

# lm: light microscopy, labelled neurons on a dark ground. em: electron microscopy, all neurites, dense.
Modality = Literal["lm", "em"]
MODALITIES: tuple[str, ...] = get_args(Modality)


class Weights(Settings):
    """Weights of the network of each modality."""

    lm: str = setting(
        "pipeline/weights/lm.safetensors",
        "Weights for light microscopy; empty: train on the dataset first.",
        why="the shipped model (docs/training.md)",
    )
    em: str = setting(
        "pipeline/weights/em.safetensors",
        "Weights for electron microscopy; empty: train on the dataset first.",
        why="the shipped model (docs/em.md)",
    )


class Config(Settings):
    """The whole configuration: what a run is about, then one section a stage."""

    dataset: str = setting(
        "",
        "Folder of image stacks, with or without samples.tsv; empty: the simulated example.",
        why="the first command of a new user needs no data",
    )
    results: str = setting(
        "results", "Folder for everything that is made.", why="beside the Snakefile", min_length=1
    )
    modality: Modality = setting(
        "lm",
        "What the images are, where the sheet does not say: light or electron microscopy.",
        why="most are",
    )
    voxel_size: str = setting(
        "",
        "z,y,x in um for images that do not say theirs, e.g. 1.0,0.33,0.33.",
        why="nothing is guessed: every length of the tracer hangs on it",
    )
    batch: int = setting(
        1,
        "Samples in one job; more than 1 for folders of thousands of small images.",
        why="a job a stage is what a cluster can schedule and retry best",
        ge=1,
    )

    weights: Weights = Weights()
    tile: Tile = Tile()
    infer: Infer = Infer()
    segment: Segment = Segment()
    trace: Trace = Trace()
    agglomerate: Agglomerate = Agglomerate()
    skeletonize: Skeletonize = Skeletonize()
    evaluate: Evaluate = Evaluate()
    draw: Draw = Draw()
    simulate: Simulate = Simulate()
    dino: Dino = Dino()
    train: Train = Train()
    train_em: TrainEm = TrainEm()
    ablation: Ablation = Ablation()
    ablation_lm: AblationLm = AblationLm()

    @field_validator("results")
    @classmethod
    def _no_braces(cls, results: str) -> str:
        if bad := sorted(set(results) & set("{}")):
            raise InputError(
                "results", f"found {results!r}", f"a path without {' '.join(bad)}: the engine reads them"
            )
        return results

    @field_validator("weights", mode="before")
    @classmethod
    def _plain_weights(cls, value: Any) -> Any:
        """The plain form weights=FILE serves a dataset of one modality, whichever it is."""
        if isinstance(value, str) or value is None:
            return dict.fromkeys(MODALITIES, value or "")
        return value

    @field_validator("voxel_size", mode="before")
    @classmethod
    def _voxel_size(cls, value: Any) -> Any:
        if isinstance(value, list):
            value = ",".join(map(str, value))  # voxel_size: [1.0, 0.33, 0.33]
        if not value:
            return value
        # Written anew: blanks would make two arguments of it.
        return ",".join(str(number) for number in parse_triple("voxel_size", value) or ())


def load(values: dict[str, Any], *, where: str = "config") -> Config:
    """Check a parsed config file or --config; InputError names the first wrong key and what is right."""
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise explain(error, Config, where=where) from None


def sections() -> dict[str, type[Settings]]:
    """{"ingest": Ingest, ...} in the order of the stages."""
    return {
        name: section
        for name, field in Config.model_fields.items()
        if (section := section_of(field)) is not None
    }
