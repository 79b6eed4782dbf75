"""The files that are made from the models of pipeline/config: config.yaml, its JSON schema and docs/settings.md."""

import json
from pathlib import Path

from pydantic.fields import FieldInfo

from pipeline import config
from pipeline.config.base import why

SCHEMA = "workflow/schemas/config.schema.json"


def render() -> dict[str, str]:
    """{path below the repository: text}; a test holds these against the files."""
    return {
        "config.yaml": _yaml(),
        SCHEMA: json.dumps(_schema(), indent=1, ensure_ascii=False) + "\n",
        "docs/settings.md": _markdown(),
    }


def write(root: Path) -> None:
    """Write all of them below `root`."""
    for name, text in render().items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")


def _general() -> dict[str, FieldInfo]:
    return {
        name: field for name, field in config.Config.model_fields.items() if name not in config.sections()
    }


def _yaml() -> str:
    lines = [
        f"# yaml-language-server: $schema={SCHEMA}",
        "# Made from pipeline/config (`python -m pipeline settings --write`). Change values here, in a file of",
        "# your own (--configfile my.yaml) or on the command line (--config dataset=DIR results=DIR).",
        "",
        *(line for item in _general().items() for line in _entry(*item, indent="")),
    ]
    for name, section in config.sections().items():
        if section.model_fields:
            lines += ["", f"# {_title(section)}", f"{name}:"]
            lines += [line for item in section.model_fields.items() for line in _entry(*item, indent="  ")]
    return "\n".join(lines) + "\n"


def _entry(name: str, field: FieldInfo, *, indent: str) -> list[str]:
    return [
        f"{indent}# {field.description} ({config.describe(field)})",
        f"{indent}# Why: {why(field)}.",
        f"{indent}{name}: {json.dumps(field.default)}",
    ]


def _schema() -> dict:
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | config.Config.model_json_schema()


def _markdown() -> str:
    lines = [
        "# Settings",
        "",
        "Made from `pipeline/config`. Set a value in `config.yaml`, in a file given by `--configfile`, or by",
        "`--config 'trace={gap_um: 4}'`; a stage that is run alone takes it as an option (`--gap-um 4`).",
        "A changed value reruns its stage and what follows, nothing else.",
        "",
        "## The run",
        "",
        *_table(_general()),
    ]
    for name, section in config.sections().items():
        if section.model_fields:
            lines += [
                "",
                f"## {name}: {_title(section)[0].lower()}{_title(section)[1:]}",
                "",
                *_table(section.model_fields),
            ]
    return "\n".join(lines) + "\n"


def _table(fields: dict[str, FieldInfo]) -> list[str]:
    rows = [
        [f"`{name}`", f"`{json.dumps(field.default)}`", config.describe(field), field.description, why(field)]
        for name, field in fields.items()
    ]
    return [
        "| setting | default | type | meaning | why this default |",
        "|---|---|---|---|---|",
        *map(_row, rows),
    ]


def _row(cells: list[str | None]) -> str:
    """A line of a Markdown table: a bar within a cell would begin the next one."""
    return "| " + " | ".join((cell or "").replace("|", r"\|") for cell in cells) + " |"


def _title(section: type[config.Settings]) -> str:
    return (section.__doc__ or "").splitlines()[0].rstrip(".")
