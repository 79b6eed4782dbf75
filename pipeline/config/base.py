"""What every section of the settings is made of: the frozen model, one field, and how both are said in words."""

import difflib
import shlex
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from cyclopts import Parameter
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
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


def setting(default: Any, says: str, *, why: str, **bounds: Any) -> Any:
    """A field of a section. says: what it does. why: why its default is what it is (measured where, or which paper)."""
    return Field(default, description=says, json_schema_extra={"why": why}, **bounds)


def why(field: FieldInfo) -> str:
    """Why the default of a setting is what it is."""
    extra = field.json_schema_extra
    return str(extra["why"]) if isinstance(extra, dict) and "why" in extra else ""


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


def options(section: Settings) -> str:
    """A section as command-line options, every one, in the order of the class: "--gap-um=6.0 --scale=1.5"."""
    return " ".join(_option(name, value) for name, value in section)


def _option(name: str, value: object) -> str:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    return f"--{flag}={shlex.quote(str(value))}"


def dotted(model: type[Settings], *, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """("dataset", field), ..., ("trace.gap_um", field), ...: every setting below `model`."""
    for name, field in model.model_fields.items():
        section = section_of(field)
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
        model = section_of(model.model_fields[part]) or model
    hint = f" (did you mean {near[0]}?)" if near else ""
    allowed = ", ".join(model.model_fields) or "nothing: this stage has no settings"
    return InputError(f"{where}: {key}", f"is not a setting{hint}", allowed)


def section_of(field: FieldInfo) -> type[Settings] | None:
    """The model of a field that is a section, None for a setting."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Settings) else None
