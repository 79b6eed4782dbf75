"""The command line: `python -m pipeline STAGE --help`.

Options come from the stages' signatures, docstrings and settings models. Only the stage that is asked for is
imported, and stages import their heavy libraries when they run: help answers in about a second.
"""

import sys
from pathlib import Path

from cyclopts import App, CycloptsError
from pydantic import ValidationError

from pipeline import __version__, config
from pipeline.errors import InputError

NAME = "python -m pipeline"
# The first sentence of each stage's docstring, here too so that the overview imports no stage (a test compares).
STAGES = {
    "ingest": "Read one image file into OME-Zarr.",
    "tile": "Plan the blocks of an ingested image.",
    "infer": "Run the network over the blocks of a plan.",
    "stack": "Put the blocks that infer wrote together.",
    "segment": "Threshold the probability of neurite into labels.",
    "trace": "Trace the neurons of a label volume.",
    "agglomerate": "Segment the cells of a dense volume from its affinities.",
    "skeletonize": "Skeletonize every cell of a label volume.",
    "evaluate": "Measure trees or labels, against a reference where there is one.",
    "draw": "Draw a tree over its image.",
    "summarize": "Gather the metrics of all samples in one table.",
    "leaderboard": "Rank tracers over many neurons on one page.",
    "simulate": "Make a dataset of simulated neurons with exactly known trees.",
    "dino": "Pre-train a 2D vision transformer.",
    "train": "Train the network.",
    "train_em": "Train the network for electron microscopy.",
    "ablation_lm_score": "Score weights on whole images, and the trees traced from them.",
    "ablation_lm_table": "Gather what ablation_lm_score wrote: mean, spread, and differences to scratch.",
    "ablation_score": "Score weights on the held-out sections of every labelled volume.",
    "ablation_table": "Gather what ablation_score wrote: a row a kind of training, mean and spread over seeds.",
}


def build(asked: str = "") -> App:
    """The command line. The stage that is asked for shows its whole docstring, the others one line."""
    app = App(
        name=NAME,
        help="From image stacks to scored SWC neurons, one stage at a time; `snakemake` runs them all.",
        version=f"stack2swc {__version__}",
        result_action="return_none",
    )
    for stage, sentence in STAGES.items():
        app.command(f"pipeline.stages.{stage}:run", name=stage, help=None if stage == asked else sentence)
    app.command(settings)
    return app


def settings(*, write: bool = False) -> None:
    """Print config.yaml with every default.

    Args:
        write: rewrite config.yaml, workflow/schemas/config.schema.json and docs/settings.md in this folder.
    """
    from pipeline import config_files

    if write:
        config_files.write(Path())
    else:
        print(config_files.render()["config.yaml"], end="")


def main(tokens: list[str] | None = None) -> int:
    """Run one command; a mistake of the user, or of the disk, is one line on stderr and status 2."""
    tokens = sys.argv[1:] if tokens is None else tokens
    asked = tokens[0] if tokens else ""
    try:
        build(asked)(tokens, exit_on_error=False, print_error=False)
    except InputError as error:
        print(error, file=sys.stderr)
    except CycloptsError as error:
        print(_one_line(error, asked), file=sys.stderr)
    except OSError as error:  # no room, no permission, a file where a folder should be
        print(f"{error.filename or f'{NAME} {asked}'}: {error.strerror or error}", file=sys.stderr)
    else:
        return 0
    return 2


def _one_line(error: CycloptsError, asked: str) -> str:
    if isinstance(error.__cause__, ValidationError):
        return str(config.explain(error.__cause__, config.sections()[asked], where=asked))
    return " ".join(f"{NAME} {asked}: {error} (see --help)".split())


if __name__ == "__main__":
    sys.exit(main())
