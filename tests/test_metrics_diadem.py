"""DIADEM: does the score fall by what is missing, wrongly joined or too much, as the published program's does?"""

import json

import numpy as np
import pytest

from pipeline import swc
from pipeline.metrics.compare import Measured, compare
from pipeline.metrics.diadem import matching as diadem
from pipeline.metrics.diadem.binary_tree import Nodes
from pipeline.metrics.diadem.matching import Limits
from pipeline.swc import Tree


def tree_of_rows(rows):
    table = np.array(rows, float)
    place = {int(row[0]): number for number, row in enumerate(table)}
    parent = np.array([place.get(int(above), -1) for above in table[:, 6]])
    return Tree(table[:, 2:5], table[:, 5], parent, table[:, 1].astype(int))


def limits_of(parameters):
    names = ("xy", "z", "xy_path", "z_path", "use_z_path", "spur")
    return Limits(**{name: parameters[name] for name in names})


@pytest.fixture(scope="module")
def oracles(shared):
    return json.loads((shared / "oracles" / "diadem.json").read_text())


def test_every_closed_form(oracles):
    for case in oracles["cases"]:
        parameters = case["parameters"] or oracles["dataset_5"]
        scores = diadem.score(
            tree_of_rows(case["test"]),
            tree_of_rows(case["gold"]),
            limits=limits_of(parameters),
            weight_by_tips=parameters["weight"] == "degree",
            count_excess=parameters["count_excess"],
        )
        wanted = np.nan if case["score"] is None else case["score"]
        assert scores["diadem"] == pytest.approx(wanted, abs=1e-9, nan_ok=True), case["name"]
        if case["score"] is not None:
            assert scores["diadem_missed"] == case["jar_misses"], case["name"]
            assert scores["diadem_excess"] == case["jar_excess_weight"], case["name"]


@pytest.mark.parametrize("number", range(3))
def test_a_real_pair_scores_as_the_program_does(oracles, shared, number):
    case = oracles["real"][number]
    parameters = case.get("parameters") or oracles["dataset_5"]
    scale = np.array([1, 1, parameters.get("scale_z", 1)])
    gold, test = (swc.read(shared / "oracles" / case[name]) for name in ("gold", "test"))
    gold, test = (Tree(one.xyz * scale, one.radius, one.parent, one.type) for one in (gold, test))
    scores = diadem.score(test, gold, limits=limits_of(parameters))
    assert scores["diadem"] == pytest.approx(case["jar"], abs=1e-9)
    for name, key in (("diadem_missed", "jar_misses"), ("diadem_excess", "jar_excess_weight")):
        assert scores[name] == case.get(key, scores[name])


STAR = {2: (50, 0), 3: (-50, 0), 4: (0, 50)}


def comb(teeth, *, without=()):
    """A shaft along x with a tooth of 30 um along y every 20 um, and the rows that are left out."""
    rows = [(1, 2, 0, 0, 0, 1, -1)]
    for tooth in range(teeth):
        shaft, tip = 2 * tooth + 2, 2 * tooth + 3
        rows.append((shaft, 2, 20 * (tooth + 1), 0, 0, 1, shaft - 2 if tooth else 1))
        if tooth not in without:
            rows.append((tip, 2, 20 * (tooth + 1), 30, 0, 1, shaft))
    rows.append((999, 2, 20 * (teeth + 1), 0, 0, 1, 2 * teeth))
    return tree_of_rows(rows)


def test_a_missing_tooth_costs_its_tip_alone():
    # Weights: branch points 5 + 4 + 3 + 2, tips 5: 19. The branch point of the lost tooth is continued.
    assert diadem.score(comb(4, without=[1]), comb(4))["diadem"] == pytest.approx(18 / 19)


def test_a_tooth_too_much_is_in_excess():
    scores = diadem.score(comb(4), comb(4, without=[1]))
    assert scores["diadem"] == pytest.approx(13 / 14)
    assert scores["diadem_excess"] == 1


def test_the_order_of_rows_does_not_matter():
    gold, test = comb(5), comb(5, without=[2])
    shuffled = swc.take(test, np.random.default_rng(0).permutation(len(test)))
    assert diadem.score(shuffled, gold) == diadem.score(test, gold)


def test_short_tips_are_spurs_when_asked():
    rows = [(1, 2, 0, 0, 0, 1, -1), (2, 2, 20, 0, 0, 1, 1), (3, 2, 40, 10, 0, 1, 2), (4, 2, 40, -10, 0, 1, 2)]
    gold = tree_of_rows(rows)
    spurred = tree_of_rows([*rows, (5, 2, 10, 0, 0, 1, 1), (6, 2, 10, 4, 0, 1, 5), (7, 2, 20, 0, 0, 1, 5)])
    spurred.parent[[2, 3]] = 6
    spurred = swc.take(spurred, np.array([0, 4, 5, 6, 2, 3]))
    assert diadem.score(spurred, gold)["diadem_excess"] == 1
    assert diadem.score(spurred, gold, limits=Limits(spur=5))["diadem"] == 1


def test_spurs_do_not_depend_on_the_order_of_rows():
    # Teeth and end are spurs, and each branch point with one of them alone; the last one has two.
    wanted = {(x, y) for x in (20, 40, 60, 80) for y in (0, 30)} - {(80, 0)} | {(100, 0)}
    for seed in range(10):
        order = np.random.default_rng(seed).permutation(len(comb(4)))
        nodes = Nodes(swc.take(comb(4), order))
        found = diadem.find_spurs(nodes, 31, matched=set())
        assert {(x, y) for x, y, _ in nodes.xyz[sorted(found)].tolist()} == wanted


def test_what_cannot_be_scored_says_why(monkeypatch):
    line = tree_of_rows([(1, 2, 0, 0, 0, 1, -1), (2, 2, 9, 0, 0, 1, 1)])
    assert "no branch point" in diadem.score(comb(2), line)["diadem_reason"]
    assert diadem.score(line, comb(2))["diadem"] == 0
    assert "prediction has no node" in diadem.score(swc.EMPTY, comb(2))["diadem_reason"]
    monkeypatch.setattr(diadem, "MOST_NODES", 3)
    assert "more than 3" in diadem.score(comb(2), comb(2))["diadem_reason"]


def test_a_reference_that_branches_at_its_root_alone_has_no_score_whatever_the_prediction():
    star = tree_of_rows([(1, 2, 0, 0, 0, 1, -1), *((n, 2, *step, 0, 1, 1) for n, step in STAR.items())])
    for prediction in (star, comb(2), swc.EMPTY):
        found = compare(Measured(prediction), Measured(star))
        assert np.isnan(found["diadem"])
        assert "diadem_reason" in found
    assert compare(Measured(swc.EMPTY), Measured(comb(2)))["diadem"] == 0
