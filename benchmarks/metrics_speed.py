"""How long the default scores of a pair take: python benchmarks/metrics_speed.py [--pairs 1000] [--large 1000000]

Prints a Markdown table. Each row runs in a process of its own, so that its peak memory is its own. The reference is
what the least score of all would take: both files through numpy.loadtxt, and each node's nearest node of the other.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from pipeline import swc
from pipeline.files import write_text
from pipeline.metrics.compare import Measured, compare

EDGE_UM = 2.5
JITTER_UM = 0.5
Job = tuple[Path, Path, bool]  # prediction, reference, with topology
ROW = "{:.0f} {:.0f} {:.3f} {:.3f} {:.3f} {:.2f} {:.0f}"


def grow(nodes: int, *, seed: int) -> swc.Tree:
    """A tree of straight-ish branches: node 50 k starts a new one somewhere on the tree."""
    rng = np.random.default_rng(seed)
    step = 50
    turns = rng.normal(scale=0.2, size=(nodes, 3))
    xyz, parent = np.zeros((nodes, 3)), np.arange(nodes) - 1
    for first in range(0, nodes, step):
        last = min(first + step, nodes)
        start = int(rng.integers(0, first)) if first else -1
        heading = rng.normal(size=3) + np.cumsum(turns[first:last], axis=0)
        heading *= EDGE_UM / np.linalg.norm(heading, axis=1, keepdims=True)
        xyz[first:last] = (xyz[start] if first else 0) + np.cumsum(heading, axis=0)
        parent[first] = start
    return swc.Tree(xyz, np.ones(nodes), parent, np.full(nodes, 3))


def write_pair(folder: Path, nodes: int, *, seed: int) -> tuple[Path, Path]:
    """Two SWC files of a tree: its nodes jittered by 0.5 um (the prediction), and as grown (the reference)."""
    tree = grow(nodes, seed=seed)
    rng = np.random.default_rng(seed + 1)
    jittered = swc.Tree(
        tree.xyz + rng.normal(scale=JITTER_UM, size=tree.xyz.shape), tree.radius, tree.parent, tree.type
    )
    paths = folder / f"{nodes}_{seed}_a.swc", folder / f"{nodes}_{seed}_b.swc"
    for path, one in zip(paths, (jittered, tree)):
        table = np.column_stack([np.arange(1, nodes + 1), one.type, one.xyz, one.radius, one.parent + 1])
        table[one.parent < 0, 6] = -1
        rows = "\n".join(ROW.format(*row) for row in table.tolist())
        write_text(path, rows + "\n")
    return paths


def score(job: Job) -> float:
    """All scores of a pair, reading included; its F1."""
    first, second, topology = job
    return compare(Measured(swc.read(first)), Measured(swc.read(second)), topology=topology)["f1"]


def nearest_nodes(job: Job) -> float:
    """Mean distance of the nodes of one file to the nearest of the other, both ways: the reference."""
    first, second = (np.loadtxt(path, usecols=range(7))[:, 2:5] for path in job[:2])
    return float(
        np.mean([cKDTree(one).query(other)[0].mean() for one, other in ((first, second), (second, first))])
    )


def timed(function: Callable[[Job], float], jobs: list[Job]) -> tuple[float, float, list[float]]:
    """Seconds, seconds of processor time, the values."""
    began, used = time.perf_counter(), cpu_seconds()
    if len(jobs) == 1:
        values = list(map(function, jobs))
    else:
        with Pool(os.cpu_count()) as pool:
            values = pool.map(function, jobs, chunksize=4)
            pool.close()
            pool.join()  # for their processor time
    return time.perf_counter() - began, cpu_seconds() - used, values


def run(folder: Path, nodes: int, pairs: int, topology: bool) -> None:
    """Print the row of the table for `pairs` pairs (20 different ones at most) of trees of `nodes` nodes."""
    jobs = [(*write_pair(folder, nodes, seed=10 * seed), topology) for seed in range(min(pairs, 20))]
    jobs = [jobs[number % len(jobs)] for number in range(pairs)]
    bare, *_ = timed(nearest_nodes, jobs)
    seconds, used, values = timed(score, jobs)
    families = "all" if topology else "all but topology"
    print(
        f"| {nodes:,} | {pairs:,} | {families} | {seconds:.1f} | {used:.1f} | {peak_megabytes():.0f} |"
        f" {bare:.1f} | {seconds / bare:.1f} | {np.mean(values):.3f} |"
    )


def cpu_seconds() -> float:
    """Processor time of this process and of its workers that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def peak_megabytes() -> float:
    """Largest resident memory of this process or one of its workers."""
    import resource

    unit = 1e6 if sys.platform == "darwin" else 1e3
    return (
        max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        / unit
    )


def main() -> None:
    """Print the table, or with --row one row of it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=1000, help="pairs of trees of 1,000 nodes")
    parser.add_argument("--large", type=int, default=1_000_000, help="nodes of the large pair")
    parser.add_argument(
        "--row", nargs=3, type=int, metavar=("NODES", "PAIRS", "TOPOLOGY"), help=argparse.SUPPRESS
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.row:
            nodes, pairs, topology = options.row
            run(Path(folder), nodes, pairs, bool(topology))
            return
    print(f"{os.cpu_count()} cores; reading included\n")
    print(
        "| nodes | pairs | scores | seconds | of CPU | peak MB of a process | reference s | ratio | mean F1 |"
    )
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    rows = [(1000, options.pairs, 1), (30_000, 1, 1), (options.large, 1, 0), (options.large, 1, 1)]
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
        "OMP_NUM_THREADS": "1",
    }
    for row in rows:
        command = [sys.executable, __file__, "--row", *map(str, row)]
        subprocess.run(command, check=True, env=environment)


if __name__ == "__main__":
    main()
