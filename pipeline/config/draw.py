"""Settings of draw."""

from pipeline.config.base import Settings, setting


class Draw(Settings):
    """Overview picture."""

    dpi: int = setting(
        150,
        "Resolution of the pictures (dots per inch).",
        why="a neurite of two pixels is still seen at the size of a page",
        ge=50,
        le=600,
    )
