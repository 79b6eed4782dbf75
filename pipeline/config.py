"""Every setting, once: name, type, bounds, default and meaning, one small model a stage.

`config.yaml`, the JSON schema, docs/settings.md and the command-line options are made from these classes
(`python -m pipeline settings --write`; see config_files.py). Settings are scalars, and only what changes the
bytes of a result is a setting: device, batch size and threads of a stage come from its environment, so that
a result never looks out of date because it was made on another machine.
"""

import difflib
import shlex
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from cyclopts import Parameter
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo

from pipeline.errors import InputError


@Parameter(name="*")  # on the command line: --gap-um, not --settings.gap-um
class Settings(BaseModel):
    """A frozen section. A stage takes its own as `settings: config.Trace = config.Trace()`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _read(cls, value: Any, info) -> Any:
        """Undo what YAML and Snakemake's --config make of a value that was typed as plain text."""
        kind = cls.model_fields[info.field_name].annotation
        if isinstance(kind, type) and issubclass(kind, Settings):
            return {} if value is None else value  # "trace:" with nothing below it
        if kind is str and value is None:
            return ""  # --config weights=
        if kind is str and isinstance(value, int) and not isinstance(value, bool):
            return str(value)  # --config dataset=2024
        if kind in (int, float) and isinstance(value, bool):
            raise ValueError("a truth value is no number")
        return value

    @field_validator("depth", check_fields=False)  # of the sections that have one
    @classmethod
    def _odd(cls, depth: int) -> int:
        if depth % 2 == 0:
            where, allowed = f"{cls.__name__.lower()}.depth", "an odd number: the middle slice is predicted"
            raise InputError(where, f"found {depth}", allowed)
        return depth


class Ingest(Settings):
    """Image file to OME-Zarr."""

    low_percentile: float = Field(0.1, ge=0, lt=50, description="Share of voxels (%) that become black.")
    high_percentile: float = Field(
        99.99,
        gt=50,
        le=100,
        description="Share of voxels (%) below white: neurites fill a thousandth of a volume.",
    )


class Tile(Settings):
    """The plan of windows and blocks."""

    window: int = Field(
        128, ge=16, description="Edge (pixels) of a window; the one the weights were trained with."
    )
    depth: int = Field(
        5, ge=1, description="Slices in a window, odd; the number the weights were trained with."
    )
    overlap: float = Field(
        0.25, ge=0, le=0.75, description="Overlap of neighbouring windows, a fraction of a side."
    )
    block_voxels: int = Field(6_000_000, ge=65_536, description="Voxels that infer holds in memory at once.")
    block_edge: int = Field(
        1024, ge=128, description="Longest edge (pixels) of a block: larger planes are cut."
    )
    signal_noise: float = Field(
        6.0,
        ge=0,
        description="A window is skipped where the mean of 3 x 3 pixels nowhere exceeds background + this x noise / 3.",
    )


class Infer(Settings):
    """Probability of neurite."""

    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="Arithmetic of the network; auto: bf16 on a GPU, fp32 on a CPU."
    )


class Segment(Settings):
    """Probability to labels."""

    high: float = Field(
        0.9, gt=0, lt=1, description="A component needs one voxel of at least this probability."
    )
    low: float = Field(0.5, gt=0, lt=1, description="A component reaches down to this probability.")
    min_size_um3: float = Field(3.0, ge=0, description="Smaller components (um^3) are dropped.")
    min_depth_um: float = Field(
        1.0, ge=0, description="Components no deeper than this (um along z) are dropped: noise of one slice."
    )

    @model_validator(mode="after")
    def _ordered(self) -> "Segment":
        if self.low > self.high:
            raise InputError("segment.low", f"found {self.low}, above high", f"at most high, {self.high}")
        return self


class Trace(Settings):
    """Labels to one rooted tree."""

    scale: float = Field(
        1.0, gt=0, description="TEASAR: a line covers what lies within scale x radius + const_um of it."
    )
    const_um: float = Field(1.5, ge=0, description="TEASAR: see scale (um). Lower: more tips, more spurs.")
    soma_um: float = Field(
        3.5,
        gt=0,
        description="From this radius (um) on a blob is a soma: one point, the root unless one is given.",
    )
    gap_um: float = Field(
        3.0,
        ge=0,
        description="Longest gap (um) without signal that is bridged; 2/3 of it to the side of another piece.",
    )
    root_um: float = Field(
        3.0,
        ge=0,
        description="With a root given: the longest tree among those within this (um) of the nearest.",
    )
    doubt: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="Probability at which a stretch of neurite counts neither for nor against its branch.",
    )
    spur_um: float = Field(1.0, ge=0, description="Branches must gain more than this length (um).")
    spur_walls: float = Field(
        0.9,
        ge=0,
        description="Branches must reach beyond this many times the distance to the wall of what they leave.",
    )
    cover_radii: float = Field(
        0.75,
        ge=0,
        description="Lines within this many radii of a stronger one run inside its neurite and are cut.",
    )
    smooth_um: float = Field(0.7, ge=0, description="Length (um) over which lines and radii are smoothed.")
    step_um: float = Field(1.0, gt=0, description="Distance (um) between nodes.")


class Evaluate(Settings):
    """Tree against reference."""

    tolerance_um: float = Field(
        1.5, gt=0, description="Cable this near (um) to the other tree's counts as found."
    )
    node_radius_um: float = Field(
        3.0, ge=0.01, description="Branch points and tips this near (um) to each other may be pairs."
    )
    esa_threshold: float = Field(
        2.0, gt=0, description="DSA and PDS count samples at this distance or farther (unit of esa_unit)."
    )
    sholl_step_um: float = Field(
        10.0, gt=0, description="Distance (um) between the spheres of the Sholl profiles."
    )
    topology: bool = Field(
        True, description="Path topology, DIADEM and persistence too: about a third of the time."
    )
    nblast: bool = Field(False, description="NBLAST too: similarity of type, by navis (seconds).")


class Draw(Settings):
    """Overview picture."""

    dpi: int = Field(150, ge=50, le=600, description="Resolution of the pictures (dots per inch).")


class Simulate(Settings):
    """The embedded example dataset."""

    neurons: int = Field(
        3, ge=1, le=99, description="How many neurons, each in its own image, from easy to hard."
    )
    seed: int = Field(0, ge=0, description="Another seed, other neurons and other noise.")


class Train(Settings):
    """Training of the network."""

    start: str = Field(
        "pipeline/weights/lm.safetensors",
        description="Weights to begin with: a file made by train, or a 2D ViT checkpoint to inflate; empty: random.",
    )
    inflation: Literal["center", "average"] = Field(
        "center",
        description="How a 2D kernel fills the slices of the 3D one: all in the centre slice, or even.",
    )
    more_datasets: str = Field("", description="Further dataset folders to train on, separated by spaces.")
    validation: str = Field(
        "",
        description="Names of samples held out (patterns with *, separated by spaces): scored, never trained on.",
    )
    simulated: int = Field(100, ge=0, description="Simulated scenes to train on beside the dataset.")
    simulated_share: float = Field(
        0.4, ge=0, le=1, description="Share of the windows that come from simulations."
    )
    empty_share: float = Field(
        0.25,
        ge=0,
        le=1,
        description="Share of the simulated scenes without any neurite: noise and haze only.",
    )
    steps: int = Field(2000, ge=1, description="Optimiser steps.")
    batch: int = Field(12, ge=1, description="Windows in a step.")
    encoder_rate: float = Field(2e-4, ge=0, description="Highest learning rate of the encoder's last block.")
    decoder_rate: float = Field(1e-3, ge=0, description="Highest learning rate of the decoder.")
    layer_decay: float = Field(
        0.75,
        gt=0,
        le=1,
        description="Each block of the encoder learns at this fraction of the rate of the next.",
    )
    validate_every: int = Field(1000, ge=1, description="Steps between two validations.")
    window: int = Field(128, ge=32, multiple_of=16, description="Edge (pixels) of a window.")
    depth: int = Field(5, ge=1, description="Slices in a window, odd.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="Arithmetic of the network; auto: bf16 on a GPU, fp32 on a CPU."
    )
    seed: int = Field(0, ge=0, description="Seed of windows, augmentation, simulations and new weights.")


class Config(Settings):
    """The whole configuration: what a run is about, then one section a stage."""

    dataset: str = Field(
        "", description="Folder of image stacks, with or without samples.tsv; empty: the simulated example."
    )
    results: str = Field("results", min_length=1, description="Folder for everything that is made.")
    voxel_size: str = Field(
        "",
        description="z,y,x in um for images that do not say theirs, e.g. 1.0,0.33,0.33.",
    )
    weights: str = Field(
        "pipeline/weights/lm.safetensors",
        description="Weights of the network; empty: train on the dataset first.",
    )
    batch: int = Field(
        1, ge=1, description="Samples in one job; more than 1 for folders of thousands of small images."
    )

    ingest: Ingest = Ingest()
    tile: Tile = Tile()
    infer: Infer = Infer()
    segment: Segment = Segment()
    trace: Trace = Trace()
    evaluate: Evaluate = Evaluate()
    draw: Draw = Draw()
    simulate: Simulate = Simulate()
    train: Train = Train()

    @field_validator("voxel_size", mode="before")
    @classmethod
    def _voxel_size(cls, value: Any) -> Any:
        if isinstance(value, list):
            value = ",".join(map(str, value))  # voxel_size: [1.0, 0.33, 0.33]
        if value:
            parse_triple("voxel_size", value)
        return value


def parse_triple(where: object, text: object, *, positive: bool = True) -> tuple[float, float, float] | None:
    """'1.0,0.33,0.33' -> three finite numbers, None for an empty text; InputError at `where` otherwise."""
    if text == "":
        return None
    try:
        first, second, third = (float(part) for part in str(text).split(","))
    except ValueError:
        first = second = third = float("nan")
    if not all(abs(number) < 1e9 and (number > 0 or not positive) for number in (first, second, third)):
        kind = "positive numbers" if positive else "numbers"
        raise InputError(where, f"found {text!r}", f"three {kind} joined by commas, e.g. 1.0,0.33,0.33")
    return first, second, third


def load(values: dict[str, Any], *, where: str = "config") -> Config:
    """Check a parsed config file or --config; InputError names the first wrong key and what is right."""
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise explain(error, Config, where=where) from None


def options(section: Settings) -> str:
    """A section as command-line options, every one, in the order of the class: "--gap-um=6.0 --scale=1.5"."""
    return " ".join(_option(name, value) for name, value in section)


def _option(name: str, value: object) -> str:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    return f"--{flag}={shlex.quote(str(value))}"


def sections() -> dict[str, type[Settings]]:
    """{"ingest": Ingest, ...} in the order of the stages."""
    return {
        name: cls for name, field in Config.model_fields.items() if (cls := _section_of(field)) is not None
    }


def dotted(model: type[Settings] = Config, *, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """("dataset", field), ..., ("trace.gap_um", field), ...: every setting below `model`."""
    for name, field in model.model_fields.items():
        section = _section_of(field)
        if section is None:
            yield prefix + name, field
        else:
            yield from dotted(section, prefix=f"{prefix}{name}.")


def describe(field: FieldInfo) -> str:
    """Type and bounds of a setting in words: "number, 0 < x <= 1"."""
    kind = field.annotation
    if get_origin(kind) is Literal:
        return " | ".join(map(str, get_args(kind)))
    words: dict[Any, str] = {bool: "true | false", int: "whole number", float: "number", str: "text"}
    word = words[kind]
    bound = {name: getattr(item, name) for item in field.metadata for name in _WORDS if hasattr(item, name)}
    below = "".join(f"{bound[name]} {_WORDS[name]} " for name in ("gt", "ge") if name in bound)
    above = "".join(f" {_WORDS[name]} {bound[name]}" for name in ("lt", "le") if name in bound)
    if below or above:
        return f"{word}, {below}x{above}"
    return f"{word}, {_WORDS['min_length']}" if "min_length" in bound else word


_WORDS = {"gt": "<", "ge": "<=", "lt": "<", "le": "<=", "min_length": "not empty"}


def explain(error: ValidationError, model: type[Settings], *, where: str) -> InputError:
    """The first mistake of a failed validation as one line: the key, what was found, what is allowed."""
    mistakes = error.errors()
    first = next((item for item in mistakes if item["type"] == "extra_forbidden"), mistakes[0])
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return _unknown(key, model, where=where)
    fields = dict(dotted(model))
    below = ", ".join(name for name in fields if name.startswith(f"{key}."))
    allowed = describe(fields[key]) if key in fields else f"a section with {below or 'nothing in it'}"
    return InputError(f"{where}: {key}", f"found {first['input']!r}", allowed)


def _unknown(key: str, model: type[Settings], *, where: str) -> InputError:
    known = [name for name, _ in dotted(model)]
    last = key.split(".")[-1]
    # The nearest full name; else a key in the wrong section, or a misspelt section.
    # A key without a dot is a misspelt section or top-level setting before it is one of a section's.
    whole = [] if "." in key else difflib.get_close_matches(key, model.model_fields, n=1, cutoff=0.75)
    near = (
        whole
        or difflib.get_close_matches(key, known, n=1)
        or [name for name in known if difflib.get_close_matches(last, [name.split(".")[-1]], cutoff=0.7)]
        or difflib.get_close_matches(key, model.model_fields, n=1)
    )
    for part in key.split(".")[:-1]:
        model = _section_of(model.model_fields[part]) or model
    hint = f" (did you mean {near[0]}?)" if near else ""
    allowed = ", ".join(model.model_fields) or "nothing: this stage has no settings"
    return InputError(f"{where}: {key}", f"is not a setting{hint}", allowed)


def _section_of(field: FieldInfo) -> type[Settings] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Settings) else None
