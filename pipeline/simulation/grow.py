"""Neurons grown by code: exact trees that look like projection axons, multipolar cells and thin fibres.

A neurite is a persistent random walk; an arbour splits its tips between two children at each branch point
until one tip is left, and its radius follows the number of tips that hang on it (Rall's power law).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.signal import lfilter

from pipeline.swc import Tree

Style = Literal["projection", "multipolar", "fibre"]
SOMA, AXON, DENDRITE = 1, 2, 3
PERSISTENCE_UM = 6.0  # length over which a neurite forgets a bend
RALL = 1.5  # r_parent^1.5 = sum of r_child^1.5 (Rall 1959)
AWAY_UM = 2.0  # a neurite's distance from the surface of its soma, at least
GAINED = 0.3  # while it is nearer: um farther from the soma for each um from where it started
WALKS = 20  # tries to find such a way; the last one is cut off at the soma


def grow(
    rng: np.random.Generator,
    *,
    extent_um: tuple[float, float, float],
    style: Style = "projection",
    tips: int = 20,
    radius_um: tuple[float, float] = (0.3, 1.0),
    section_um: float = 12.0,
    wander: float = 0.35,
    boutons: float = 0.5,
    soma_um: float = 5.0,
    step_um: float = 0.5,
) -> Tree:
    """One neuron as a tree with a single root, in um, nodes `step_um` apart, all within `extent_um`.

    extent_um: x, y, z size of the box whose lower corner is the origin. style: "projection", an axon that
    enters at a border and ends in an arbour, with a few side branches; "multipolar", a soma with
    dendrites; "fibre", a thin axon from border to border. tips: how many ends to grow; neurites that meet the
    border, or can only run into their soma, end there. radius_um: of a tip, and the most of a neurite. section_um:
    mean length between branch points. wander: standard deviation of the heading along a walk (0 is straight).
    boutons: probability that a tip ends in a swelling. soma_um: radius of the soma; no neurite comes back to it.
    The tree depends on `rng` and the arguments alone.
    """
    grower = _Grower(
        rng=rng,
        extent=np.asarray(extent_um, float),
        radius_um=radius_um,
        section_um=section_um,
        wander=wander,
        boutons=boutons,
        step_um=step_um,
    )
    if style == "multipolar":
        return _multipolar(grower, tips=tips, soma_um=soma_um)
    if style == "fibre":
        return _fibre(grower, tips=tips)
    return _projection(grower, tips=tips)


def _projection(grower: "_Grower", *, tips: int) -> Tree:
    """An axon that enters at x = 0, arches through the box and spreads in its far third."""
    rng, extent = grower.rng, grower.extent
    thin, thick = grower.radius_um
    fractions = [[0.0, 0.2, 0.15], [0.18, 0.32, 0.3], [0.4, 0.42, 0.5], [0.62, 0.48, 0.5]]
    spread = [[0, 0.15, 0.1], [0.04, 0.15, 0.15], [0.08, 0.2, 0.2], [0.06, 0.12, 0.1]]
    trunk = grower.curve((np.array(fractions) + rng.uniform(-1, 1, (4, 3)) * spread) * extent)
    end_radius = max(thin, 0.7 * thick)
    rows = grower.add(-1, trunk, np.linspace(thick, end_radius, len(trunk)), AXON)
    side = min(tips // 3, 8)
    starts = np.sort(rng.uniform(0.35, 0.95, side))
    for share, start in zip(_shares(rng, tips // 3, side), starts, strict=True):
        at = int(start * (len(rows) - 1))
        heading = grower.turn(grower.heading(rows[at]), degrees=rng.uniform(45, 80))
        grower.arbour(rows[at], heading, tips=share, most=0.6 * thick, kind=AXON)
    grower.arbour(rows[-1], grower.heading(rows[-1]), tips=tips - tips // 3, most=end_radius, kind=AXON)
    return grower.tree()


def _multipolar(grower: "_Grower", *, tips: int, soma_um: float) -> Tree:
    """A soma (one node) near the centre with 3 to 6 dendrites; each dendrite starts on its surface."""
    rng, extent = grower.rng, grower.extent
    soma_um = min(soma_um, 0.3 * extent.min())
    centre = extent * rng.uniform([0.35, 0.35, 0.4], [0.65, 0.65, 0.6])
    soma = grower.add(-1, centre[None], np.array([soma_um]), SOMA)[0]
    grower.soma = centre, soma_um
    stems = min(tips, int(rng.integers(3, 7)))
    turn = rng.uniform(0, 2 * np.pi)
    for stem, share in enumerate(_shares(rng, tips, stems)):
        # Stems leave in evenly spread directions; a stack is flat, so most lie in its plane.
        angle = turn + 2 * np.pi * (stem + rng.uniform(-0.3, 0.3)) / stems
        heading = _unit(np.array([np.cos(angle), np.sin(angle), rng.normal() * 0.4 * grower.flatness]))
        surface = (centre + soma_um * heading)[None]
        root = grower.add(soma, surface, np.array([grower.radius_um[1]]), DENDRITE)[0]
        grower.arbour(root, heading, tips=share, most=grower.radius_um[1], kind=DENDRITE)
    return grower.tree()


def _fibre(grower: "_Grower", *, tips: int) -> Tree:
    """A thin axon between two opposite sides of the box with tips - 1 side branches."""
    rng, extent = grower.rng, grower.extent
    axis = int(rng.choice(3, p=[0.4, 0.4, 0.2]))
    places = rng.uniform(0.1, 0.9, (4, 3))
    places[:, axis] = [0.0, 0.33, 0.67, 1.0]
    if rng.random() < 0.5:
        places = places[::-1]
    trunk = grower.curve(places * extent)
    radius = rng.uniform(*grower.radius_um)
    rows = grower.add(-1, trunk, np.full(len(trunk), radius), AXON)
    for start in np.sort(rng.uniform(0.1, 0.9, max(tips - 1, 0))):
        at = int(start * (len(rows) - 1))
        heading = grower.turn(grower.heading(rows[at]), degrees=rng.uniform(40, 80))
        grower.arbour(rows[at], heading, tips=int(rng.integers(1, 3)), most=0.9 * radius, kind=AXON)
    return grower.tree()


@dataclass(eq=False)
class _Grower:
    """Nodes so far, and the ways to add more. Parents always lie before their children."""

    rng: np.random.Generator
    extent: np.ndarray  # x, y, z um
    radius_um: tuple[float, float]
    section_um: float
    wander: float
    boutons: float
    step_um: float

    def __post_init__(self) -> None:
        self.flatness = min(1.0, self.extent[2] / self.extent[:2].min())  # neurites lie in a stack's plane
        self.xyz: list[np.ndarray] = []
        self.radius: list[float] = []
        self.parent: list[int] = []
        self.type: list[int] = []
        self.soma: tuple[np.ndarray, float] | None = None  # middle and radius

    def tree(self) -> Tree:
        return Tree(np.array(self.xyz), np.array(self.radius), np.array(self.parent), np.array(self.type))

    def add(self, parent: int, xyz: np.ndarray, radius: np.ndarray, kind: int) -> range:
        """Append a chain of nodes that hangs on row `parent` (-1: a root); its rows."""
        rows = range(len(self.xyz), len(self.xyz) + len(xyz))
        self.xyz.extend(xyz)
        self.radius.extend(radius)
        self.parent.extend([parent, *rows[:-1]])
        self.type.extend([kind] * len(xyz))
        return rows

    def heading(self, row: int) -> np.ndarray:
        """Unit vector by which the neurite comes to a node that is no root."""
        return _unit(self.xyz[row] - self.xyz[self.parent[row]])

    def turn(self, heading: np.ndarray, *, degrees: float) -> np.ndarray:
        """`heading` turned by an angle about a random axis; flat stacks keep it near their plane."""
        aside = self.rng.normal(size=3) * [1, 1, self.flatness]
        aside = _unit(aside - (aside @ heading) * heading)
        angle = np.radians(degrees)
        return np.cos(angle) * heading + np.sin(angle) * aside

    def walk(self, start: np.ndarray, heading: np.ndarray, *, length_um: float) -> np.ndarray:
        """(n, 3) points after `start`: a persistent random walk that ends where it leaves the box, or at the soma."""
        n = max(2, round(length_um / self.step_um))
        for _ in range(WALKS):
            steps = _unit(heading + self.wander * self.noise(n) * [1, 1, self.flatness])
            points = start + np.cumsum(steps * self.step_um, axis=0)
            clear = self.clear(start, points)
            if clear.all():
                break
        return self.inside(_until(points, ~clear))

    def clear(self, start: np.ndarray, points: np.ndarray) -> np.ndarray:
        """(n,) bool: which points of a way from `start`, in order, are away from the soma."""
        if self.soma is None:
            return np.ones(len(points), bool)
        middle, radius = self.soma
        away = np.linalg.norm(points - middle, axis=1) - radius
        first = np.linalg.norm(start - middle) - radius
        way_um = np.linalg.norm(points - start, axis=1)
        return away >= np.minimum(AWAY_UM, max(first, 0.0) + GAINED * way_um)

    def curve(self, waypoints: np.ndarray) -> np.ndarray:
        """(n, 3) points along a smooth curve through the waypoints, with the bends of a walk."""
        # Monotone cubics do not overshoot: the curve stays in the box that holds its waypoints.
        chord = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(waypoints, axis=0), axis=1))])
        spline = PchipInterpolator(chord, waypoints)
        fine = spline(np.linspace(0, chord[-1], 2000))
        arc = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(fine, axis=0), axis=1))])
        at = np.linspace(0, arc[-1], max(3, round(arc[-1] / self.step_um)))
        points = np.stack([np.interp(at, arc, fine[:, axis]) for axis in range(3)], axis=1)
        bends = self.noise(len(at)) * [1, 1, self.flatness] * (0.5 * self.wander * self.step_um)
        sway = np.cumsum(bends, axis=0)
        sway -= np.linspace(0, 1, len(at))[:, None] * sway[-1]  # both ends stay where they are
        folded = self.extent - np.abs(self.extent - np.abs(points + sway))  # what leaves comes back in
        return np.clip(folded, 0, self.extent)

    def noise(self, n: int) -> np.ndarray:
        """(n, 3) unit Gaussian noise that starts at zero and is correlated over PERSISTENCE_UM."""
        rho = np.exp(-self.step_um / PERSISTENCE_UM)
        return lfilter([np.sqrt(1 - rho**2)], [1, -rho], self.rng.normal(size=(n, 3)), axis=0)

    def inside(self, points: np.ndarray) -> np.ndarray:
        """The points before the first that leaves the box."""
        return _until(points, np.any((points < 0) | (points > self.extent), axis=1))

    def arbour(self, row: int, heading: np.ndarray, *, tips: int, most: float, kind: int) -> None:
        """Grow a subtree of `tips` ends from `row`; no radius exceeds `most`, none grows outward."""
        rng, (thin, _) = self.rng, self.radius_um
        start = self.xyz[row]
        mean = self.section_um * (1.0 if tips > 1 else 1.3)
        length = mean * rng.gamma(4, 0.25)
        heading = self.inward(start, heading, length)
        points = self.walk(start, heading, length_um=length)
        radius = min(most, thin * tips ** (1 / RALL))
        if len(points) < 2:
            return
        uneven = np.exp(0.12 * self.noise(len(points))[:, 0])
        taper = np.linspace(min(most, 1.15 * radius), radius, len(points)) * uneven
        if tips == 1:
            taper = self.swell(taper)
        rows = self.add(row, points, np.clip(taper, 0.8 * thin, None), kind)
        if tips == 1 or len(points) < 3:
            return
        left = int(np.clip(round(tips * rng.beta(2, 2)), 1, tips - 1))
        # The children part by 45 to 95 degrees in one plane; the thicker one bends less.
        angle = np.radians(rng.uniform(45, 95))
        bend = angle * left**-0.5 / (left**-0.5 + (tips - left) ** -0.5)
        ahead = self.heading(rows[-1])
        main = self.turn(ahead, degrees=np.degrees(bend))
        aside = _unit(main - (main @ ahead) * ahead)
        other = np.cos(angle - bend) * ahead - np.sin(angle - bend) * aside
        self.arbour(rows[-1], main, tips=left, most=radius, kind=kind)
        self.arbour(rows[-1], other, tips=tips - left, most=radius, kind=kind)

    def inward(self, start: np.ndarray, heading: np.ndarray, length_um: float) -> np.ndarray:
        """`heading`, or the first of a few turns of it by which a straight way stays in the box and off the soma."""
        for degrees in (0, 20, 40, 60, 80, 100):
            tried = self.turn(heading, degrees=degrees) if degrees else heading
            way = start + tried * np.linspace(0, length_um, 20)[1:, None]
            if np.all((way[-1] > 0) & (way[-1] < self.extent)) and self.clear(start, way).all():
                return tried
        return heading

    def swell(self, radius: np.ndarray) -> np.ndarray:
        """Boutons: one at the end with probability `boutons`, others every ten um or so."""
        rng = self.rng
        along = np.arange(len(radius)) * self.step_um
        places = along[-1] - np.cumsum(rng.uniform(4, 16, 8))
        places = places[(places > 2) & (rng.random(8) < self.boutons * 0.6)]
        if rng.random() < self.boutons:
            places = np.append(places, along[-1])
        for place in places:
            size, width = rng.uniform(0.8, 2.2), rng.uniform(0.5, 1.0)
            radius = radius * (1 + size * np.exp(-(((along - place) / width) ** 2)))
        return radius


def _until(points: np.ndarray, ended: np.ndarray) -> np.ndarray:
    """The points before the first at which a way has ended; bool `ended`, one a point."""
    return points[: int(np.argmax(ended))] if ended.any() else points


def _unit(vectors: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(norm > 0, norm, 1)


def _shares(rng: np.random.Generator, total: int, parts: int) -> list[int]:
    """`total` split at random into `parts` integers of at least one."""
    if parts == 0:
        return []
    extra = rng.multinomial(max(total - parts, 0), np.full(parts, 1 / parts))
    return [int(1 + more) for more in extra]
