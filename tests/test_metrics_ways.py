"""Ways through a tree: against a graph search on a finely cut tree, and against all points of the groups."""

import networkx as nx
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from conftest import tree_of
from pipeline.metrics.distance import Edges
from pipeline.metrics.paths import rooted, ways


def random_forest(rng, nodes=40):
    parent = np.array([-1, *(int(rng.integers(max(-1, i - 4), i)) for i in range(1, nodes))])
    return tree_of(np.column_stack([rng.integers(0, 5, (nodes, 3)), parent]))  # some edges have no length


def test_lowest_common_ancestors_by_climbing():
    rng = np.random.default_rng(0)
    parent = np.array([-1] + [rng.integers(max(0, i - 3), i) for i in range(1, 200)])
    first, second = rng.integers(0, 200, (2, 300))

    def climb(a, b):
        above = {a}
        while parent[a] >= 0:
            a = parent[a]
            above.add(a)
        while b not in above:
            b = parent[b]
        return b

    expected = [climb(a, b) for a, b in zip(first.tolist(), second.tolist())]
    depth = rooted.sums_to_root(parent, (parent >= 0).astype(int))
    found = rooted.lowest_common_ancestor(rooted.doublings(parent), depth, first, second)
    assert_array_equal(found, expected)


@pytest.mark.parametrize("seed", range(5))
def test_lengths_and_corners_of_ways_are_those_of_a_graph_search(seed):
    rng = np.random.default_rng(seed)
    tree = random_forest(rng)
    through = ways.Ways(tree, edges := Edges(tree))
    one, two = ((rng.integers(0, len(edges.child), 200), rng.choice([0, 0.3, 1], 200)) for _ in range(2))
    root = rooted.root_of(tree.parent)[edges.child]
    same = root[one[0]] == root[two[0]]
    one, two = ways.choose_points(one, same), ways.choose_points(two, same)
    graph = nx.Graph()
    for edge, child in enumerate(edges.child.tolist()):
        places = [("node", child), (edge, 0.0), (edge, 0.3), (edge, 1.0), ("node", int(tree.parent[child]))]
        for first, last, share in zip(places, places[1:], (0, 0.3, 0.7, 0)):
            graph.add_edge(first, last, length=share * edges.length[edge])
    expected = [
        nx.shortest_path_length(graph, (int(e), float(a)), (int(f), float(b)), weight="length")
        for e, a, f, b in zip(*one, *two)
    ]
    assert_allclose(through.length(one, two), expected, atol=1e-9)
    corners, way = through.corners(one, two)
    steps = np.linalg.norm(np.diff(corners, axis=0), axis=1) * (np.diff(way) == 0)
    assert_allclose(np.bincount(way[1:], steps, len(one[0])), expected, atol=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_extremes_of_the_ways_between_groups_are_those_of_all_their_points(seed):
    rng = np.random.default_rng(seed)
    tree = random_forest(rng, nodes=60)
    through = ways.Ways(tree, Edges(tree))
    groups = ways.groups_inside(through, rng.uniform(0, 4, (8, 3)), 1.3)
    path, one, two = ways.pairs(groups, np.arange(8).reshape(4, 2))
    assert len(path)
    least = through.length(*ways.shortest(groups, one, two))
    most = ways.longest(groups, one, two)
    # The points of each group, nine a piece.
    share = np.linspace(0, 1, 9)
    along = groups.near.along[:, :1] + share * np.diff(groups.near.along, axis=1)
    for index, (a, b) in enumerate(zip(one, two)):
        first, second = (np.flatnonzero(groups.near.group == group) for group in (a, b))
        i, j = (x.ravel() for x in np.meshgrid(np.repeat(first, 9), np.repeat(second, 9), indexing="ij"))
        k, m = (
            x.ravel()
            for x in np.meshgrid(np.tile(range(9), len(first)), np.tile(range(9), len(second)), indexing="ij")
        )
        lengths = through.length((groups.near.edge[i], along[i, k]), (groups.near.edge[j], along[j, m]))
        assert most[index] == pytest.approx(lengths.max(), abs=1e-9)
        assert (
            lengths.min() - 0.4 <= least[index] <= lengths.min() + 1e-9
        )  # a gate may lie between two of the nine
