# Settings, samples and the small functions that rules call.
from pathlib import Path

from pipeline import config as settings
from pipeline.errors import InputError
from pipeline.project import NEEDS, batch_mem_mb, batch_runtime, check_weights, open_project

try:
    PROJECT = open_project(config)
except InputError as error:
    sys.exit(f"{error}")

RESULTS = PROJECT.settings.results
SAMPLES = PROJECT.samples
TRAINED = f"{RESULTS}/trained/lm.safetensors"


wildcard_constraints:
    sample=r"[^/]+",
    batch=r"\d+",


def stage_options(stage):
    """The stage's section of the config, so that a changed setting reruns it and what follows, nothing else."""
    return settings.options(getattr(PROJECT.settings, stage))


def memory(stage):
    return lambda wildcards, attempt: NEEDS[stage].mem_mb(PROJECT.voxels(wildcards.sample), attempt=attempt)


def minutes(stage):
    return lambda wildcards, attempt: NEEDS[stage].runtime(PROJECT.voxels(wildcards.sample), attempt=attempt)


def weights(wildcards):
    """The weights file; checked only where a job needs it, so that `train` runs without one."""
    if not PROJECT.settings.weights:
        return TRAINED
    try:
        return check_weights(Path(PROJECT.settings.weights))
    except InputError as error:
        sys.exit(f"{error}")
