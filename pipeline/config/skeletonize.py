"""Settings of skeletonize."""

from pipeline.config.base import Settings, setting


class Skeletonize(Settings):
    """Cells to one tree each (electron microscopy)."""

    min_length_um: float = setting(
        1.0,
        "Trees with less cable (um) are left out.",
        why="what is shorter are the corners of cells that the volume cuts",
        ge=0,
    )
    scale: float = setting(
        1.5, "TEASAR: a line covers what lies within scale x radius + const_um of it.", why="kimimaro's", gt=0
    )
    const_um: float = setting(
        0.3,
        "TEASAR: see scale (um). Lower: more twigs, more spurs.",
        why="kimimaro's 300 nm: longer than a spine is thick",
        ge=0,
    )
    bulge_um: float = setting(
        0.75, "From this radius (um) on a part may be a soma.", why="kimimaro's 750 nm", gt=0
    )
    soma_um: float = setting(
        3.5,
        "From this radius (um) on it is one: a point without lines inside, the root.",
        why="kimimaro's",
        gt=0,
    )
    dust_voxels: int = setting(1000, "Parts of a cell of fewer voxels have no line.", why="kimimaro's", ge=0)
    smooth_um: float = setting(
        0.1,
        "Length (um) over which lines and radii are smoothed.",
        why="takes voxel steps of 8 to 40 nm away",
        ge=0,
    )
