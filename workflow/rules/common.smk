# Settings, samples and the small functions that rules call.
import re
from pathlib import Path

from pipeline import config as settings
from pipeline.errors import InputError
from pipeline.given import typed_in_files
from pipeline.needs import NEEDS, batch_mem_mb, batch_runtime
from pipeline.project import check_weights, open_project
from pipeline.stages import VERSIONS

try:
    # As typed, because the engine makes the number 20240501 of the name 2024_05_01.
    TYPED = typed_in_files(workflow.config_settings.configfiles)
    TYPED += workflow.config_settings.config_args or []
    PROJECT = open_project(config, typed=TYPED)
except InputError as error:
    sys.exit(f"{error}")

RESULTS = PROJECT.settings.results
SAMPLES = PROJECT.samples


wildcard_constraints:
    sample=r"[^/]+",
    batch=r"\d+",
    modality="|".join(settings.MODALITIES),


def of_modality(modality):
    """Wildcard constraint of the rules of one modality; one that matches nothing where the dataset has none."""
    return "|".join(map(re.escape, PROJECT.of_modality(modality))) or "(?!)"


def volume(name):
    """A volume of a sample's image; samples that share an image share it."""
    return lambda wildcards: f"{RESULTS}/{PROJECT.volumes[wildcards.sample]}/{name}"


def stage_options(stage):
    """The stage's section of the config, so that a changed setting reruns it and what follows, nothing else."""
    return settings.options(getattr(PROJECT.settings, stage))


def memory(stage):
    return lambda wildcards, attempt: NEEDS[stage].mem_mb(PROJECT.voxels(wildcards.sample), attempt=attempt)


def minutes(stage):
    return lambda wildcards, attempt: NEEDS[stage].runtime(PROJECT.voxels(wildcards.sample), attempt=attempt)


def weights_of(modality):
    """The weights file of a modality; checked only where a job needs it, so that `train` runs without one."""
    path = PROJECT.weights(modality)
    if not path:
        return f"{RESULTS}/trained/{modality}.safetensors"
    try:
        return check_weights(Path(path))
    except InputError as error:
        sys.exit(f"{error}")


def weights(wildcards):
    return weights_of(PROJECT.modality(wildcards.sample))


def trees(wildcards):
    """The tree of a sample, or the folder of its trees."""
    folder = f"{RESULTS}/{wildcards.sample}"
    return f"{folder}/trees" if PROJECT.many_trees(wildcards.sample) else f"{folder}/{wildcards.sample}.swc"


# Where the workflow itself pre-trains what a training begins with.
PRETRAINED = f"{RESULTS}/trained/vit.safetensors" if PROJECT.settings.train.pretrain == "dino" else ""


def training_options(stage):
    """Those of train or train_em, from what dino made where the config asks for that."""
    if stage == "train" and PRETRAINED:
        return settings.options(PROJECT.settings.train.model_copy(update={"start": PRETRAINED}))
    return stage_options(stage)


def start_of_ablation():
    """The 2D ViT that trainings of the ablation begin with; checked only where a job needs it."""
    start = PROJECT.settings.ablation_lm.start or PRETRAINED
    if not start:
        sys.exit(
            "ablation_lm.start: empty; allowed: a 2D ViT that all trainings begin with, or train.pretrain=dino"
        )
    return start


def roots(names):
    """--root NAME=x,y,z of those samples whose root the sheet tells."""
    found = {name: SAMPLES[name].root for name in names if SAMPLES[name].root}
    return [f"--root={name}={','.join(map(str, root))}" for name, root in found.items()]
