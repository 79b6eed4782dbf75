"""Settings of agglomerate."""

from typing import Literal

from pipeline.config.base import Settings, setting


class Agglomerate(Settings):
    """Affinities and foreground to cells (electron microscopy)."""

    method: Literal["multicut", "mutex", "components"] = setting(
        "multicut",
        "How fragments become cells: multicut of their graph, mutex watershed, or components of strong affinities.",
        why="the best of the three where affinities are not perfect (docs/em.md)",
    )
    beta: float = setting(
        0.5,
        "Multicut: a smaller one merges more.",
        why="the best one for all three training volumes (docs/em.md)",
        gt=0,
        lt=1,
    )
    threshold: float = setting(
        0.25,
        "Boundary (0 to 1) beyond which a voxel is a wall between the seeds of fragments.",
        why="SegNeuron's",
        gt=0,
        lt=1,
    )
    seed_sigma: float = setting(
        1.0,
        "Blur (pixels) of the distance to the walls, whose maxima are the seeds of fragments.",
        why="2 is too much for thin neurites at 8 nm",
        ge=0,
    )
    link: float = setting(
        0.5, "Components: affinities above this join voxels.", why="as sure as not", gt=0, lt=1
    )
    bias: float = setting(0.0, "Mutex watershed: added to what joins; a greater one merges more.", why="none")
    min_foreground: float = setting(
        0.0,
        "Voxels of this foreground or less belong to no cell.",
        why="cells fill the volumes that the weights were trained on: a mask at .5 costs .4 bits there (docs/em.md)",
        ge=0,
        lt=1,
    )
    restrict: bool = setting(
        False,
        "No affinity above the foreground: a cell ends where no neuron is seen (SegNeuron).",
        why="worse by .02 to .2 bits on all three training volumes, which have no glia or holes (docs/em.md)",
    )
    min_size_um3: float = setting(
        0.0,
        "Smaller cells (um^3) are dropped: their voxels belong to none.",
        why="dropping those below .001 costs .003 to .03 bits on the training volumes; what is too short gives no tree",
        ge=0,
    )
    whole_voxels: int = setting(
        120_000_000,
        "Larger volumes are cut into blocks for fragments and multicut.",
        why="40 bytes a voxel: 5 GB",
        ge=1_000_000,
    )
    block_voxels: int = setting(
        32_000_000,
        "Voxels of such a block.",
        why="1.3 GB; the larger the fewer faces between blocks",
        ge=1_000_000,
    )
