"""Settings of tile."""

from pipeline.config.base import Settings, setting


class Tile(Settings):
    """The plan of windows and blocks."""

    overlap: float = setting(
        0.25,
        "Overlap of neighbouring windows in plane, a fraction of a side (light microscopy).",
        why="the least at which no seam is seen in a probability map; .5 costs 1.8 times the time",
        ge=0,
        le=0.75,
    )
    overlap_em: float = setting(
        0.5,
        "Least overlap of neighbouring windows in plane and depth, a fraction of a side (electron microscopy).",
        why="a voxel is seen in eight mirrored windows: less VI on unseen sections (docs/em.md), 2.6 times the time",
        ge=0,
        le=0.75,
    )
    block_voxels: int = setting(
        6_000_000,
        "Voxels that infer holds at once, as the network reads them (electron microscopy: more where a block would be "
        "thinner than a window).",
        why="600 MB for infer (benchmarks/infer_memory.py), and blocks still take seconds each",
        ge=65_536,
    )
    block_edge: int = setting(
        1024,
        "Longest edge (pixels) of a block: larger planes are cut.",
        why="a slab of planes of this size still has several slices within block_voxels",
        ge=128,
    )
    signal_noise: float = setting(
        6.0,
        "A window is skipped where the mean of 3 x 3 pixels nowhere exceeds background + this x noise / 3.",
        why="what stays below is less than 2 sigma bright over two pixels: no neurite of a training stack is",
        ge=0,
    )
