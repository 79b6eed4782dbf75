"""The leaderboard: does a folder of tracings become a page that a browser shows and a table that is right?"""

import csv
import os
import shutil
import subprocess
import sys

import pytest

from conftest import ROOT
from pipeline.benchmark import gold
from pipeline.errors import InputError
from pipeline.stages.leaderboard import _page

GOLD = "1 1 10 10 0 1 -1\n2 3 50 10 0 1 1\n3 3 90 10 0 1 2\n4 3 50 40 0 1 2\n"
HALF = "1 1 10 10 0 1 -1\n2 3 50 10 0 1 1\n"
FAR = "1 1 10 90 9 1 -1\n2 3 50 95 9 1 1\n"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def write(folder, neuron, gold, **tracings):
    (folder / neuron / "auto").mkdir(parents=True)
    (folder / neuron / "gold.swc").write_text(gold)
    for tracer, text in tracings.items():
        (folder / neuron / "auto" / f"{tracer}.swc").write_text(text)


# The page is made of scores of whole trees: ten seconds before the first test.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Two neurons of two species; tracers: exact, half, far (fails on one), broken."""
    folder = tmp_path_factory.mktemp("benchmark")
    write(folder, "fly_1", GOLD, exact=GOLD, half=HALF, far=FAR, broken="1 2\n")
    write(folder, "frog_2", GOLD, exact=GOLD, half=HALF, broken="")
    sheet = "neuron\tspecies\tvoxel_size\nfly_1\tfly\t1,1,1\nfrog_2\tfrog\t2,0.5,0.5\n"
    (folder / "neurons.tsv").write_text(sheet)
    return folder


def pipeline(*arguments):
    return subprocess.run([sys.executable, "-m", "pipeline", *map(str, arguments)], cwd=ROOT, check=True)


@pytest.fixture(scope="module")
def results(dataset, tmp_path_factory):
    """The folder that holds leaderboard.html and leaderboard.tsv."""
    folder = tmp_path_factory.mktemp("benchmark")
    for neuron in gold.discover(dataset):
        pipeline(
            *("evaluate", "--prediction", neuron.gold.with_name("auto"), "--reference", neuron.gold),
            *neuron.options.split(),
            *("--output", folder / neuron.name / "tracings.tsv"),
        )
    own = tmp_path_factory.mktemp("results")
    (own / "fly_1").mkdir()
    (own / "fly_1" / "fly_1.swc").write_text(HALF)
    pipeline(
        *("evaluate", "--prediction", own / "fly_1/fly_1.swc", "--prediction-unit", "um"),
        *("--reference", dataset / "fly_1/gold.swc", "--unit", "voxel", "--voxel-size", "1,1,1"),
        *("--output", folder / "fly_1" / "own.json"),
    )
    page, table = folder / "leaderboard.html", folder / "leaderboard.tsv"
    pipeline("leaderboard", dataset, folder, page, table, "--own", own)
    return folder


def test_neurons_their_species_and_units_come_from_the_folder(dataset):
    fly, frog = gold.discover(dataset)
    assert (fly.name, fly.species, list(fly.tracings)) == ("fly_1", "fly", ["broken", "exact", "far", "half"])
    assert (frog.unit, frog.options) == ("voxel", "--unit=voxel --voxel-size=2,0.5,0.5")


def test_without_a_sheet_trees_are_in_um_and_the_species_is_unknown(tmp_path):
    write(tmp_path, "one", GOLD, exact=GOLD)
    write(tmp_path, "nobody_tried", GOLD)
    [neuron] = gold.discover(tmp_path)
    assert (neuron.name, neuron.species, neuron.options) == ("one", "unknown", "--unit=um")


def test_a_bad_sheet_is_named(tmp_path):
    (tmp_path / "neurons.tsv").write_text("name\tspecies\n")
    with pytest.raises(InputError, match=r"neurons.tsv: columns name, species; allowed: a column neuron"):
        gold.discover(tmp_path)
    (tmp_path / "neurons.tsv").write_text("neuron\tvoxel_size\na\t1,2\n")
    with pytest.raises(InputError, match="voxel_size of a"):
        gold.discover(tmp_path)


def read_table(results):
    with open(results / "leaderboard.tsv", newline="") as file:
        return {
            (row["species"], row["metric"], row["tracer"]): row
            for row in csv.DictReader(file, delimiter="\t")
        }


def test_the_table_ranks_and_counts_failures(results):
    table = read_table(results)
    f1 = {tracer: table["all", "f1", tracer] for tracer in ("exact", "half", "far", "broken")}
    assert [f1[tracer]["rank"] for tracer in f1] == ["1", "2", "4", "4"]
    assert [f1[tracer]["failures"] for tracer in f1] == ["0", "0", "1", "2"]
    assert float(f1["exact"]["median"]) == 1
    assert float(f1["broken"]["median"]) == 0
    assert table["all", "esa", "broken"]["median"] == ""  # infinite
    assert table["all", "esa", "broken"]["rank"] == "5"


def test_a_score_that_a_tree_with_cable_lacks_is_undefined_and_no_failure(results):
    row = read_table(results)[
        "fly", "persistence", "far"
    ]  # no node of it lies at the root of the gold standard
    assert (row["failures"], row["undefined"], row["median"]) == ("0", "1", "")
    assert row["rank"] == read_table(results)["fly", "persistence", "broken"]["rank"]
    assert read_table(results)["fly", "f1", "far"]["undefined"] == "0"


def test_our_own_tree_takes_part_and_fails_where_it_is_not(results):
    table = read_table(results)
    assert table["fly", "f1", "stack2swc"]["rank"] == table["fly", "f1", "half"]["rank"] == "2"
    assert table["all", "f1", "stack2swc"]["failures"] == "1"


def test_species_have_their_own_standings(results):
    table = read_table(results)
    assert table["fly", "f1", "far"]["failures"] == "0"
    assert table["frog", "f1", "far"]["failures"] == "1"
    assert table["frog", "f1", "far"]["neurons"] == "1"


def test_the_page_needs_no_network(results):
    page = (results / "leaderboard.html").read_text()
    assert "https:" not in page.replace("http://www.w3.org/2000/svg", "")
    assert page.count("data:image/png;base64,") == 2


def show(page, tmp_path):
    """The document of a page after its script has run in a headless browser."""
    command = [
        BROWSER,
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        f"--user-data-dir={tmp_path}",
        "--dump-dom",
        page,
    ]
    environment = {**os.environ, "HOME": str(tmp_path)}
    shown = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120, env=environment)
    return shown.stdout


@pytest.mark.skipif(BROWSER is None, reason="no chromium")
@pytest.mark.parametrize("metric", ["f1", "esa"])
def test_a_real_browser_shows_the_standings(results, tmp_path, metric):
    page = (results / "leaderboard.html").as_uri()
    shown = show(f"{page}#{metric}" if metric != "f1" else page, tmp_path)
    board, heat = shown.split('id="heat"')
    assert f'data-ready="{metric}"' in shown  # the script ran to its end
    assert board.index("<td>exact</td>") < board.index("<td>half</td>") < board.index("<td>broken</td>")
    assert "2 of 2" in board
    assert heat.count("<th>fly_1</th>") == 1
    assert "broken on fly_1: failed" in heat


@pytest.mark.skipif(BROWSER is None, reason="no chromium")
def test_a_real_browser_says_undefined_where_a_tree_has_cable(results, tmp_path):
    heat = show(f"{(results / 'leaderboard.html').as_uri()}#persistence", tmp_path).split('id="heat"')[1]
    assert "far on fly_1: undefined" in heat
    assert "far on frog_2: failed" in heat


def test_a_name_cannot_end_the_script_that_holds_the_data():
    page = _page({"tracers": ["</script><b>"]}, [("<i>", "fly & co", b"")])
    assert "</script><b>" not in page
    assert "&lt;i&gt; (fly &amp; co)" in page


@pytest.mark.slow
def test_a_folder_of_trees_alone_is_enough_and_a_tracer_is_added_by_its_files(dataset, tmp_path):
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--dry-run",
        "--quiet",
        "rules",
        "--cores",
        "1",
        "benchmark",
    ]
    command += ["--config", f"dataset={dataset}", f"results={tmp_path}"]
    planned = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    jobs = dict(line.split() for line in planned.stdout.splitlines() if len(line.split()) == 2)
    assert jobs["score_tracings"] == "2"
    assert "infer" not in jobs
    listed = gold.discover(dataset)[0].tracings
    (dataset / "fly_1/auto/new.swc").write_text(GOLD)
    assert set(gold.discover(dataset)[0].tracings) - set(listed) == {"new"}


def test_trees_of_vaa3d_and_suffixes_in_any_case_take_part(tmp_path):
    for name in ("n1/gold.SWC", "n1/auto/APP2.eswc", "n1/auto/snake.Swc", "n1/auto/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (neuron,) = gold.discover(tmp_path)
    assert sorted(neuron.tracings) == ["APP2", "snake"] and neuron.gold.name == "gold.SWC"
