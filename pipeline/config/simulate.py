"""Settings of simulate."""

from pipeline.config.base import Settings, setting


class Simulate(Settings):
    """The embedded example dataset."""

    neurons: int = setting(
        3,
        "How many neurons, each in its own image, from easy to hard.",
        why="a demo of a minute or two on a laptop",
        ge=1,
        le=99,
    )
    tissues: int = setting(
        2,
        "How many blocks of tissue with modality=em, isotropic and cut into sections in turn.",
        why="one of each kind, in minutes on a laptop",
        ge=1,
        le=99,
    )
    seed: int = setting(0, "Another seed, other neurons and other noise.", why="any will do", ge=0)
