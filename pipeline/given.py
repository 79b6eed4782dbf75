"""What a user has given, as it was meant: one text for a path, names that look like numbers, files that change."""

import hashlib
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from pipeline import config


def canonical(path: str) -> str:
    """One text for a path, however it was typed: relative where it lies below the working folder, ~ is the home."""
    if not path:
        return path
    full, here = os.path.abspath(os.path.expanduser(path)), os.getcwd()
    return os.path.relpath(full, here) if full == here or full.startswith(here + os.sep) else full


def as_typed(values: dict[str, Any], typed: Iterable[str]) -> dict[str, Any]:
    """`values` with texts in place of what was read as a number or a truth value: 2024_05_01, 007, 1e3, true."""
    texts = dict(entry.split("=", 1) for entry in typed if "=" in entry)
    plain = {name for name, field in config.Config.model_fields.items() if field.annotation is str}
    lost = {name for name in plain & set(texts) if isinstance(values.get(name), int | float)}
    return {**values, **{name: texts[name] for name in sorted(lost)}}


def typed_in_files(paths: Iterable[Path | str]) -> list[str]:
    """ "name=text" of the top of config files, before YAML makes numbers of names."""
    import yaml

    found: list[str] = []
    for path in paths:
        read = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
        found += [f"{key}={text}" for key, text in (read or {}).items() if isinstance(text, str)]
    return found


@cache
def mark(path: Path) -> str:
    """Size and time of a file; a digest of those of a zarr folder's headers, or of the files in any other; else ""."""
    heads = ("zarr.json", ".zattrs", ".zgroup", ".zarray")
    files = [path] if not path.is_dir() else [path / head for head in heads]
    files += sorted(file for head in heads for file in path.glob(f"*/{head}"))
    if path.is_dir() and not any(file.exists() for file in files):
        files = sorted(file for file in path.iterdir() if file.is_file())
    seen = [(file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.exists()]
    if len(seen) > 1:
        return hashlib.sha256(repr(seen).encode()).hexdigest()[:16]
    return "".join(f"{size}:{time}" for size, time in seen)
