"""Settings of trace."""

from typing import Literal

from pipeline.config.base import Settings, setting


class Trace(Settings):
    """Labels to rooted trees (light microscopy)."""

    neurons: Literal["one", "all"] = setting(
        "one",
        "one: the neuron at the root, else the longest tree; all: every tree above min_length_um.",
        why="a stack of the benchmarks shows one labelled neuron; others in view are not in its reference",
    )
    min_length_um: float = setting(
        20.0,
        "Shorter trees are left out where all are asked for (um of cable).",
        why="false neurite in noise is shorter than this; no reference tree of BigNeuron or DIADEM is",
        ge=0,
    )
    scale: float = setting(
        1.0,
        "TEASAR: a line covers what lies within scale x radius + const_um of it.",
        why="the rolling ball of the neurite's own radius; kimimaro's 1.5 loses short side branches",
        gt=0,
    )
    const_um: float = setting(
        1.5,
        "TEASAR: see scale (um). Lower: more tips, more spurs.",
        why="the tolerance of the scores: two lines closer than it are one",
        ge=0,
    )
    soma_um: float = setting(
        3.5,
        "From this radius (um) on a blob is a soma: one point, the root unless one is given.",
        why="thicker than any dendrite of the references, thinner than a soma of theirs",
        gt=0,
    )
    gap_um: float = setting(
        3.0,
        "Longest gap (um) without signal that is bridged; 2/3 of it to the side of another piece.",
        why="best mean F1 over OP_1, 2, 4, 5 and 15 simulated stacks (docs/results.md)",
        ge=0,
    )
    root_um: float = setting(
        3.0,
        "With a root given: the longest tree among those within this (um) of the nearest.",
        why="people click within a neurite's width: a speck nearer to the point must not win",
        ge=0,
    )
    doubt: float = setting(
        0.5,
        "Probability at which a stretch of neurite counts neither for nor against its branch.",
        why="as sure as not",
        ge=0,
        lt=1,
    )
    signal: float = setting(
        2.4,
        "Branches must be this many times the noise brighter than what lies beside them, short ones up to twice that.",
        why="costs OP_1, 2, 4, 5 nothing; less leaves lines in noise of some kinds",
        ge=0,
    )
    spur_um: float = setting(
        1.0,
        "Branches must gain more than this length (um).",
        why="shorter than the distance of nodes: nothing a person would draw",
        ge=0,
    )
    spur_walls: float = setting(
        0.9,
        "Branches must reach beyond this many times the distance to the wall of what they leave.",
        why="just short of 1, which noise of the wall would decide; tuned on OP_1, 2, 4, 5",
        ge=0,
    )
    cover_radii: float = setting(
        0.75,
        "Lines within this many radii of a stronger one run inside its neurite and are cut.",
        why="below 1, so that a branch that leaves at a small angle keeps its length",
        ge=0,
    )
    smooth_um: float = setting(
        0.7,
        "Length (um) over which lines and radii are smoothed.",
        why="takes voxel steps of .33 x 1 um away and no bend that a reference has",
        ge=0,
    )
    step_um: float = setting(
        1.0,
        "Distance (um) between nodes.",
        why="half the distance at which ESA's samples lie; finer adds rows, no detail",
        gt=0,
    )
