"""Our tracer of all labels beside bare kimimaro: CPU seconds, memory, trees. Each in a process of its own.

python benchmarks/kimimaro_speed.py LABELS.ckl [--edge 256] [--voxel-size 0.04,0.032,0.032]

Made for the pinky40 crop of kimimaro's repository (benchmarks/connectomics.npy.ckl.gz, gunzipped), whose arrays are
x, y, z. The parameters of TEASAR are the same in both: ours gives them in um. Ours keeps freed memory, as the stage
skeletonize does; bare kimimaro runs as it comes.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cyclopts
import numpy as np

# Those of kimimaro's README, nm.
TEASAR_NM = {
    "scale": 1.5,
    "const": 300,
    "pdrf_scale": 100000,
    "pdrf_exponent": 4,
    "soma_detection_threshold": 750,
    "soma_acceptance_threshold": 3500,
    "soma_invalidation_scale": 2,
    "soma_invalidation_const": 300,
}
DUST_VOXELS = 1000


def main(labels: Path, *, edge: int = 256, voxel_size: str = "0.04,0.032,0.032") -> None:
    """Print both rows and their ratios. edge: voxels of the corner that is traced. voxel_size: z,y,x um."""
    size = [float(part) for part in voxel_size.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        # A process begins with the peak of the one that starts it: this one must stay small.
        corner = Path(folder) / "corner.npy"
        subprocess.run([sys.executable, __file__, "--cut", str(labels), str(edge), str(corner)], check=True)
        rows = {name: measured(name, corner, size, Path(folder)) for name in RUNS}
    print("tracer\tCPU s\tpeak MB\ttrees\tnodes\tcable um\tvalid SWC")
    for name, row in rows.items():
        print(name, *(f"{value:.6g}" for value in row.values()), sep="\t")
    ratios = [rows["ours"][key] / rows["kimimaro"][key] for key in ("cpu", "peak")]
    print("ratio", *(f"{ratio:.3f}" for ratio in ratios), sep="\t")


def cut(labels: str, edge: str, corner: str) -> None:
    """Write the first `edge` voxels along each axis as zyx .npy: the child that measures loads these alone."""
    import crackle

    part = slice(int(edge))
    np.save(corner, np.ascontiguousarray(crackle.load(labels)[part, part, part].T))


def measured(name: str, corner: Path, size: list[float], folder: Path) -> dict[str, float]:
    """One of RUNS in a process of its own: its figures."""
    command = [sys.executable, __file__, "--child", name, str(corner), json.dumps(size), str(folder)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(answer.stdout.splitlines()[-1])


def child(name: str, corner: str, size: str, folder: str) -> None:
    """Run one of RUNS and print its figures as JSON, with processor seconds and peak MB of this process."""
    labels = np.load(corner)
    result = RUNS[name](labels, tuple(json.loads(size)), Path(folder))
    own, below = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    kilobytes = own.ru_maxrss / 1024 if sys.platform == "darwin" else own.ru_maxrss
    print(json.dumps({**result, "cpu": result["cpu"] + below.ru_utime, "peak": kilobytes / 1024}))


def bare(labels: np.ndarray, voxel_size: tuple[float, ...], folder: Path) -> dict[str, float]:
    """kimimaro itself."""
    import kimimaro

    start = time.process_time()
    skeletons = kimimaro.skeletonize(
        labels.T,
        teasar_params=TEASAR_NM,
        anisotropy=tuple(1000 * edge for edge in voxel_size[::-1]),
        dust_threshold=DUST_VOXELS,
        fix_branching=True,
        fix_borders=True,
        progress=False,
        parallel=1,
    )
    cpu = time.process_time() - start
    nodes = sum(len(skeleton.vertices) for skeleton in skeletons.values())
    cable = sum(skeleton.cable_length() for skeleton in skeletons.values()) / 1000
    return {"cpu": cpu, "peak": 0, "trees": len(skeletons), "nodes": nodes, "cable": float(cable), "valid": 0}


def ours(labels: np.ndarray, voxel_size: tuple[float, ...], folder: Path) -> dict[str, float]:
    """trace_labels with the same parameters, and how many of its SWC files are valid."""
    import kimimaro  # noqa: F401  # its import is no part of the tracing

    from pipeline import swc
    from pipeline.tracing.instances import keep_freed_memory, trace_labels

    start = time.process_time()
    keep_freed_memory()
    trees = trace_labels(labels, voxel_size, min_length_um=0.0, dust_voxels=DUST_VOXELS)
    cpu = time.process_time() - start
    valid = 0
    for label, tree in trees.items():
        path = folder / f"{label}.swc"
        swc.write(path, tree)
        again = swc.read(path)
        ordered = (again.parent < np.arange(len(again))).all()
        valid += (
            len(again) == len(tree) and (again.parent < 0).sum() == 1 and ordered and again.radius.min() > 0
        )
    return {
        "cpu": cpu,
        "peak": 0,
        "trees": len(trees),
        "nodes": sum(map(len, trees.values())),
        "cable": sum(map(swc.cable_length, trees.values())),
        "valid": int(valid),
    }


RUNS = {"kimimaro": bare, "ours": ours}


if __name__ == "__main__":
    inner = {"--child": child, "--cut": cut}
    if sys.argv[1:2] and sys.argv[1] in inner:
        inner[sys.argv[1]](*sys.argv[2:])
    else:
        cyclopts.run(main)
