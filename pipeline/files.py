"""Outputs that are whole or absent.

A job may be killed, or run twice at once (a cluster that lost sight of a node starts it again), so no
output is ever written under its final name: it grows under a private name beside it and is renamed once.
"""

import glob
import json
import math
import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a private sibling of `path`; rename it to `path` on success, delete it on failure.

    The body may make a file or a directory there. When another job has finished the same directory
    meanwhile, the first one stays (same input, same bytes) and ours is dropped.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left_overs(path)
    private = path.with_name(f".{path.name}.tmp.{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        yield private
        if private.is_dir():
            rename_directory(private, path)
        else:
            with open(private, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(private, path)
    finally:
        if private.is_dir():
            shutil.rmtree(private)
        else:
            private.unlink(missing_ok=True)


def rename_directory(private: Path, path: Path) -> None:
    """Give a finished directory its final name, in place of an older one.

    When another job has finished the same directory meanwhile, or has taken `private` away, what it made stays.
    """
    # A directory cannot be replaced in one step: move the old one away first.
    old = path.with_name(f".{path.name}.old.{os.getpid()}.{secrets.token_hex(4)}")
    with suppress(FileNotFoundError):
        os.rename(path, old)
    try:
        os.rename(private, path)
    except OSError:
        if not path.is_dir():
            if not old.is_dir():
                raise
            os.rename(old, path)
    shutil.rmtree(old, ignore_errors=True)


def _remove_left_overs(path: Path) -> None:
    """Delete what killed processes of this machine left beside `path`: whoever made it lives no more."""
    for left_over in path.parent.glob(f".{glob.escape(path.name)}.tmp.*"):
        host, _, process = (
            left_over.name.removeprefix(f".{path.name}.tmp.").rpartition(".")[0].rpartition(".")
        )
        if host == socket.gethostname() and process.isdigit() and not _lives(int(process)):
            if left_over.is_dir():
                shutil.rmtree(left_over, ignore_errors=True)
            else:
                left_over.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it lives, and is somebody else's
    return True


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with Unix line ends, whole or not at all."""
    with whole(path) as private:
        private.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: object) -> None:
    """Write JSON in the given key order; NaN and infinity become null (JSON has neither)."""
    write_text(path, json.dumps(_finite(value), indent=1, ensure_ascii=False) + "\n")


def format_table(rows: list[dict[str, object]]) -> str:
    """Rows as tab-separated text; columns in the order in which they first appear, empty where a value lacks."""
    columns = list(dict.fromkeys(key for entry in rows for key in entry))
    lines = [columns, *([_cell(entry.get(column)) for column in columns] for entry in rows)]
    return "".join("\t".join(line) + "\n" for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else ""
    return " ".join(str(value).split())


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()  # numpy scalars
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
