"""Commands that look at files and make no result of a run: one module each, found by `pipeline.__main__`."""

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[object]]) -> str:
    """Rows as text, each column as wide as its longest cell, two blanks between; the last column is left as it is."""
    cells = [[" ".join(str(cell).split()) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells)
    return "".join(f"{line}\n" for line in lines)
