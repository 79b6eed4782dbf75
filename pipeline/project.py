"""What one run of the workflow is about: its settings, its samples, and the options of their jobs.

The Snakefile asks here and holds no logic of its own. Everything is cheap: it happens whenever the Snakefile is
parsed, in each job of a cluster too.
"""

import fcntl
import json
import os
import shlex
import socket
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import IO, Any

from pipeline import config, dataset, images
from pipeline.benchmark import gold
from pipeline.dataset import Sample
from pipeline.errors import InputError
from pipeline.files import format_table
from pipeline.given import as_typed, canonical, mark
from pipeline.network import contract

REPOSITORY = Path(__file__).resolve().parents[1]
TRAINING_COLUMNS = ("sample", "image", "reference", "reference_unit")


@dataclass(frozen=True)
class Project:
    """settings: checked. folder: of the images. samples: by name, in order. is_demo: simulate makes the folder."""

    settings: config.Config
    folder: Path
    samples: dict[str, Sample]
    is_demo: bool

    def image(self, name: str) -> list[Path]:
        """The image of a sample as an input of its jobs; none where the sheet is wrong about the sample."""
        sample = self.samples[name]
        return [] if sample.problem else [images.split(sample.image)[0]]

    def seen(self, *paths: Path | str) -> str:
        """Size and time of files that the user gives, as a param of the rules that read them.

        The engine looks for newer files alone: one that was replaced by an older one (`mv`, `cp -p`, a backup) is not.
        What a rule of ours makes does not count: it is not there yet when the plan is made.
        """
        if self.is_demo:
            return ""
        trained = Path(self.settings.results) / "trained"
        given = (Path(path) for path in paths if trained not in Path(path).parents)
        return " ".join(seen for path in given if (seen := mark(path)))

    def promised(self, name: str) -> list[str]:
        """The files of a sample that a run ends with: whichever is deleted is made again."""
        folder = f"{self.settings.results}/{name}"
        tree = [f"{folder}/{name}.swc", f"{folder}/{name}.confidence.tsv"]
        trees = [f"{folder}/trees"] if self.many_trees(name) else tree
        return [*trees, *(f"{folder}/{file}" for file in ("neurons.tsv", "metrics.json", "overview.png"))]

    def wanted(self) -> list[str]:
        """What `all` asks for of the samples; of batches only what is lacking in those that were done."""
        if self.settings.batch == 1:
            return [path for name in self.samples for path in self.promised(name)]
        done = (names for batch, names in self.batches().items() if self.batch_table(batch).exists())
        paths = (path for names in done for name in names for path in self.promised(name))
        return [path for path in paths if not Path(path).exists()]

    def problems(self) -> list[str]:
        """What the sheet has wrong about samples: each is one failed sample, told when its ingest runs."""
        return [sample.problem for sample in self.samples.values() if sample.problem]

    def passed_over(self) -> str:
        """A line on files of image formats that are not read, "" where there are none."""
        found = [] if self.is_demo else dataset.passed_over(self.folder, Path(self.settings.results))
        said = ", ".join(found[:6]) + (", ..." if len(found) > 6 else "")
        return f"passed over, {len(found)} images of formats that are not read: {said}" if found else ""

    def modality(self, name: str) -> str:
        """lm or em: what the sheet says of a sample, else the config."""
        return self.samples[name].modality or self.settings.modality

    def of_modality(self, modality: str) -> list[str]:
        """The names of the samples of a modality."""
        return [name for name in self.samples if self.modality(name) == modality]

    @cached_property
    def volumes(self) -> dict[str, str]:
        """Sample -> the first sample whose image is the same and read alike: volumes are made for that one only.

        Two rows of a sheet that trace two neurons of an image share all that is made before trace.
        """
        first: dict[tuple, str] = {}
        return {
            name: first.setdefault(
                (
                    sample.image,
                    sample.voxel_size,
                    sample.channel,
                    sample.time,
                    self.modality(name),
                    sample.problem,
                ),
                name,
            )
            for name, sample in self.samples.items()
        }

    def weights(self, modality: str) -> str:
        """The weights file of a modality, "" to train one first; the default ones lie in the repository."""
        path = getattr(self.settings.weights, modality)
        shipped = REPOSITORY / path
        return str(shipped) if path and not Path(path).exists() and shipped.exists() else path

    def ingest_options(self, name: str) -> str:
        """The sample's own voxel size, else the config's for files that say none; channel and time point alike."""
        own = self.samples[name].voxel_size
        if problem := self.samples[name].problem:
            option = f"--problem={shlex.quote(problem)} "
        elif own:
            option = f"--voxel-size={_joined(own)} "
        elif self.settings.voxel_size:
            option = f"--fallback-voxel-size={self.settings.voxel_size} "
        else:
            option = ""
        # Only where they say something: the jobs of other images stay what they were.
        for axis in ("channel", "time"):
            if said := getattr(self.samples[name], axis):
                option += f" --{axis}={shlex.quote(said)} "
            elif said := getattr(self.settings, axis):
                option += f" --fallback-{axis}={shlex.quote(said)} "
        option += "--modality=em " if self.modality(name) == "em" else ""
        return option.strip()

    def check_options(self) -> str:
        """What `check` must know of the settings, and the results that are no images."""
        known = self.settings
        size = f"--voxel-size={known.voxel_size} " if known.voxel_size else ""
        outside = "--outside " if known.outside else ""
        for axis in ("channel", "time"):
            if said := getattr(known, axis):
                size += f"--{axis}={shlex.quote(said)} "
        return f"{size}{outside}--modality={known.modality} --results={shlex.quote(known.results)}"

    def trace_options(self, name: str) -> str:
        """Where the sample's tree starts, if known, and the stage's settings."""
        root = self.samples[name].root
        return (f"--root={_joined(root)} " if root else "") + config.options(self.settings.trace)

    def reference(self, name: str) -> list[Path]:
        """What a sample is scored against, as optional inputs: a tree; of em a label volume and skeletons."""
        return [images.split(path)[0] for path in self._references(name).values()]

    def reference_options(self, name: str, *options: str) -> str:
        """ "--reference=PATH --skeletons=PATH --unit=UNIT" as far as they are there; or of some alone."""
        found = {
            option: path
            for option, path in self._references(name).items()
            if not options or option in options
        }
        said = [f"--{option}={shlex.quote(str(path))}" for option, path in found.items()]
        return " ".join([*said, f"--unit={self.samples[name].reference_unit}"]) if said else ""

    def _references(self, name: str) -> dict[str, Path]:
        """{"reference": PATH, "skeletons": PATH}, without what a sample does not have."""
        sample = self.samples[name]
        if self.modality(name) == "em":
            found = {"reference": sample.labels, "skeletons": sample.lines}
        else:
            found = {"reference": sample.tree}
        return {option: path for option, path in found.items() if path and not sample.problem}

    def many_trees(self, name: str) -> bool:
        """Whether a sample gives a folder of trees rather than one."""
        return self.modality(name) == "em" or self.settings.trace.neurons == "all"

    def sound(self, modality: str) -> list[str]:
        """Samples of a modality with which the sheet has nothing wrong."""
        return [name for name in self.of_modality(modality) if not self.samples[name].problem]

    def pictures(self) -> list[str]:
        """What dino looks at: the user's files, and for the word stacks the dataset's own images."""
        volumes = dict.fromkeys(self.volumes[name] for name in self.sound("lm"))
        stacks = [f"{self.settings.results}/{name}/image.zarr" for name in volumes]
        named = self.settings.dino.pictures.split()
        return [path for name in named for path in (stacks if name == "stacks" else [name])]

    def labelled(self, modality: str) -> list[str]:
        """Those of which something is known."""
        return [name for name in self.sound(modality) if self.truth(name)]

    def truth(self, name: str) -> Path | None:
        """What a training learns of a sample; of em labels alone."""
        return self.samples[name].labels if self.modality(name) == "em" else self.samples[name].truth

    def taught(self, modality: str) -> list[str]:
        """Those that a training learns from: the labelled ones; all where it begins without labels."""
        pretrained = modality == "em" and self.settings.train_em.pretrain != "none"
        return self.sound(modality) if pretrained else self.labelled(modality)

    def truths(self, modality: str) -> list[Path]:
        """The files that a training takes the truth from; two volumes of labels may lie in one."""
        truths = map(self.truth, self.sound(modality))
        return list(dict.fromkeys(images.split(truth)[0] for truth in truths if truth))

    def training_sheet(self, modality: str, names: list[str] | None = None) -> str:
        """The sheet that `train` reads: ingested image and truth of each sample, of those taught if none are named."""
        rows: list[dict[str, object]] = [
            {
                "sample": name,
                "image": Path(self.settings.results) / self.volumes[name] / "image.zarr",
                "reference": self.truth(name) or "",
                "reference_unit": self.samples[name].reference_unit,
            }
            for name in (self.taught(modality) if names is None else names)
        ]
        return format_table(rows) or "\t".join(TRAINING_COLUMNS) + "\n"

    def batches(self) -> dict[str, list[str]]:
        """{"0000": names of the first `batch` samples, ...}"""
        batches: list[list[str]] = []
        together: dict[str, list[str]] = {}
        for name, owner in self.volumes.items():  # samples of one image never lie in two batches
            together.setdefault(owner, []).append(name)
        for names in together.values():
            if not batches or len(batches[-1]) >= self.settings.batch:
                batches.append([])
            batches[-1] += names
        return {f"{number:04d}": names for number, names in enumerate(batches)}

    def batch_folder(self, batch: str) -> Path:
        """Where what belongs to a batch as a whole lies."""
        return Path(self.settings.results) / "batches" / batch

    def batch_table(self, batch: str) -> Path:
        """The table of a batch: its last file."""
        return self.batch_folder(batch) / "metrics.tsv"

    def config_arguments(self) -> str:
        """This configuration as the arguments of Snakemake's --config: the engine inside a batch gets the same."""
        return " ".join(
            shlex.quote(f"{name}={json.dumps(value, ensure_ascii=False)}")
            for name, value in self.settings.model_dump().items()
        )

    def voxels(self, name: str) -> int:
        """About how many voxels the image of a sample has; 0 while the demo is not made."""
        return _voxels(self.samples[name].image)

    def where_results_are(self) -> str:
        """What a run says when it has ended well; one sample's files stand for all."""
        results = Path(self.settings.results)
        name = next(iter(self.samples), "")
        kinds = {
            results / "metrics.tsv": f"scores of {len(self.samples)} samples",
            results / name / f"{name}.swc": "tree, one for each sample",
            results / name / "trees": "trees, a folder for each sample",
            results / name / "overview.png": "picture, one for each sample",
            results / "trained/lm.safetensors": "trained weights",
            results / "trained/em.safetensors": "trained weights",
            results / "ablation/ablation.tsv": "ablation",
            results / "ablation/ablation_lm.tsv": "ablation",
            results / "benchmark/leaderboard.html": "leaderboard",
        }
        lines = ["Results:", *(f"  {path}  ({kind})" for path, kind in kinds.items() if path.exists())]
        told = results / "run.json"
        if (results / name).is_dir():
            lines.append(f"Open:\n{self._how_to_open(name)}")
        if empty := json.loads(told.read_text(encoding="utf-8")).get("empty") if told.exists() else []:
            lines.append(f"No neurite found in {len(empty)} of {len(self.samples)}: {', '.join(empty)}")
        return "\n".join(lines)

    def _how_to_open(self, name: str) -> str:
        """Three programs and what each opens of a sample; more in the docs."""
        folder = Path(self.settings.results) / name
        owner = Path(self.settings.results) / self.volumes[name]
        tree = folder / "trees" if self.many_trees(name) else folder / f"{name}.swc"
        one = tree / "*.swc" if self.many_trees(name) else tree
        return (
            f"  napari  napari --plugin napari-ome-zarr {shlex.quote(str(owner / 'image.zarr'))}\n"
            f"  SNT     File > Load Tracings > (e)SWC: {one}\n"
            f"  Vaa3D   drag {one} into a 3D view\n"
            "  (docs/inputs.md, Opening results)"
        )

    def batch_voxels(self, batch: str) -> list[int]:
        """The sizes of the images of a batch."""
        return [self.voxels(name) for name in self.batches()[batch]]


def open_project(values: dict[str, Any], *, typed: Iterable[str] = ()) -> Project:
    """Check a configuration and find its samples; InputError tells what is wrong.

    typed: "name=text" as it was typed, for texts that the engine has taken for numbers.
    """
    settings = config.load(as_typed(values, typed))
    paths = {name: canonical(getattr(settings, name)) for name in ("dataset", "results")}
    weights = {name: canonical(getattr(settings.weights, name)) for name in config.MODALITIES}
    settings = settings.model_copy(update={**paths, "weights": settings.weights.model_copy(update=weights)})
    results = Path(settings.results)
    nearest = next(path for path in (results, *results.parents) if path.exists())
    if not nearest.is_dir():
        raise InputError("results", f"{nearest} is a file", "a folder, there or to be made")
    if not settings.dataset:
        folder = results / "demo_dataset"
        return Project(settings, folder, _demo_samples(folder, settings), is_demo=True)
    folder = Path(settings.dataset)
    # A folder of trees alone is one for the benchmark.
    only_trees = bool(gold.discover(folder))
    found = dataset.discover(
        folder, results=results, may_be_empty=only_trees, keep_wrong=True, outside=settings.outside
    )
    samples = {sample.name: sample for sample in found}
    project = Project(settings, folder, samples, is_demo=False)
    if settings.weights.lm == settings.weights.em != "" and all(map(project.of_modality, config.MODALITIES)):
        allowed = "weights={lm: FILE, em: FILE} for a dataset of two modalities"
        raise InputError("weights", f"one file, {settings.weights.lm}", allowed)
    return project


def _demo_samples(folder: Path, settings: config.Config) -> dict[str, Sample]:
    """What `simulate` will make, known before it has run. Voxel sizes stand in the images."""
    if settings.modality == "em":
        names = [f"tissue_{index + 1}" for index in range(settings.simulate.tissues)]
        return {
            name: Sample(
                name,
                folder / f"{name}.tif",
                reference=folder / f"{name}_labels.tif",
                skeletons=folder / f"{name}_skeletons",
            )
            for name in names
        }
    names = [f"neuron_{index + 1}" for index in range(settings.simulate.neurons)]
    return {name: Sample(name, folder / f"{name}.tif", reference=folder / f"{name}.swc") for name in names}


def check_weights(path: Path) -> Path:
    """`path`, if it is weights that `train` made, by its header."""
    contract.read(path)
    return path


def hold(results: Path) -> IO[str]:
    """Lock a results folder for as long as the returned file is open, at most until this process dies.

    Snakemake's own lock outlives a killed run and would stop the same command from going on. The kernel frees
    this one. Raises InputError when another run holds it.
    """
    results.mkdir(parents=True, exist_ok=True)
    file = open(results / ".lock", "a+", encoding="utf-8")  # noqa: SIM115 - open is what holds it
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        found = f"another run works here: {file.read().strip() or 'unknown'}"
        allowed = "one run a results folder; wait, or give another results=DIR"
        raise InputError(results, found, allowed) from None
    except OSError as error:
        print(f"{results}: no locks on this file system ({error}): start no second run here", file=sys.stderr)
    file.truncate(0)
    print(f"process {os.getpid()} on {socket.gethostname()}", file=file, flush=True)
    return file


@cache
def _voxels(image: Path) -> int:
    return images.count_voxels(image)


def _joined(triple: tuple[float, float, float]) -> str:
    return ",".join(str(number) for number in triple)
