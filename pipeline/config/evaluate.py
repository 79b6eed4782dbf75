"""Settings of evaluate."""

from pipeline.config.base import Settings, setting


class Evaluate(Settings):
    """Trees and cells against references."""

    tolerance_um: float = setting(
        1.5,
        "Cable this near (um) to the other tree's counts as found.",
        why="two annotators of DIADEM differ by less than this nearly everywhere",
        gt=0,
    )
    node_radius_um: float = setting(
        3.0,
        "Branch points and tips this near (um) to each other may be pairs.",
        why="twice tolerance_um: people place branch points less surely than lines",
        ge=0.01,
    )
    esa_threshold: float = setting(
        2.0,
        "DSA and PDS count samples at this distance or farther (unit of esa_unit).",
        why="Peng et al. 2010: two voxels are what a person sees as apart",
        gt=0,
    )
    sholl_step_um: float = setting(
        10.0, "Distance (um) between the spheres of the Sholl profiles.", why="the field's habit", gt=0
    )
    topology: bool = setting(
        True,
        "Path topology, DIADEM and persistence too: about a third of the time.",
        why="a tree with the right cable and the wrong connections is no neuron",
    )
    nblast: bool = setting(
        False,
        "NBLAST too: similarity of type, by navis (seconds).",
        why="importing navis takes longer than all other scores of a tree",
    )
    cell_tolerance_um: float = setting(
        0.2,
        "tolerance_um of electron microscopy.",
        why="about the radius of a neurite: a centre line within its own cell counts",
        gt=0,
    )
    cell_min_length_um: float = setting(
        1.0,
        "Reference skeletons with less cable (um) are compared with no tree.",
        why="skeletonize.min_length_um: what is shorter has none",
        ge=0,
    )
