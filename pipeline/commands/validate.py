"""validate: what is wrong with SWC files, in one table."""

from pathlib import Path

from pipeline import swc, swc_check
from pipeline.commands import aligned
from pipeline.errors import InputError
from pipeline.swc_check import ERROR, Finding


def run(files: list[Path], /, *, unit: str = "um") -> int:
    """Explain what is wrong with SWC files, in one table.

    A row a mistake: error (the file cannot be read), warning (it is read, and something is doubtful) or note (it is
    read, and not as the standard has it); the line of its first place and how often it occurs. The exit status is 1
    where there is an error.

    Args:
        files: SWC or ESWC files, or folders of them.
        unit: that the coordinates are in: voxel | um | nm.
    """
    if unit not in swc.UNITS:
        raise InputError("--unit", f"found {unit!r}", " | ".join(swc.UNITS))
    paths = [path for file in files for path in (swc.below(file) if file.is_dir() else [file])]
    if not paths:
        raise InputError(
            ", ".join(map(str, files)) or "validate", "no SWC file", "at least one .swc or .eswc"
        )
    rows: list[tuple[object, ...]] = [("file", "line", "level", "count", "what")]
    failed = 0
    for path in paths:
        found = _findings(path, unit)
        failed += any(one.level == ERROR for one in found)
        rows += [(path, one.line or "", one.level, one.count, one.said) for one in found]
        if not found:
            rows.append((path, "", "ok", "", ""))
    print(aligned(rows), end="")
    print(f"{len(paths)} files, {failed} that cannot be read")
    return 1 if failed else 0


def _findings(path: Path, unit: str) -> list[Finding]:
    try:
        return swc_check.findings(path.read_bytes(), unit=unit)
    except OSError as error:
        return [Finding(ERROR, 0, f"cannot be opened ({error.strerror})")]
