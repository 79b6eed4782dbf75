"""Settings of ingest."""

from pipeline.config.base import Settings, setting


class Ingest(Settings):
    """Image file to OME-Zarr."""

    low_percentile: float = setting(
        0.1,
        "Share of voxels (%) that become black.",
        why="a few dead pixels must not set black; on DIADEM's stacks it is the camera's offset",
        ge=0,
        lt=50,
    )
    high_percentile: float = setting(
        99.99,
        "Share of voxels (%) below white.",
        why="neurites fill a thousandth of a volume: at 99.9 the whole axon of OP_5 is saturated",
        gt=50,
        le=100,
    )
