# One run: every sample of a dataset folder becomes a scored tree. `snakemake --cores all` runs the simulated example.
from snakemake.utils import min_version

from pipeline.files import write_json, write_text
from pipeline.project import hold
from pipeline.stages.summarize import report_failure

min_version("9.27")
LOCK = []


configfile: f"{workflow.basedir}/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/prepare.smk"
include: "workflow/rules/predict.smk"
include: "workflow/rules/trace.smk"
include: "workflow/rules/instances.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/ablation.smk"
include: "workflow/rules/ablation_lm.smk"
include: "workflow/rules/batch.smk"
include: "workflow/rules/summarize.smk"
include: "workflow/rules/standings.smk"
include: "workflow/rules/benchmark.smk"


rule all:
    default_target: True
    input:
        f"{RESULTS}/metrics.tsv",
        f"{RESULTS}/run.json",


onstart:
    # A list, because a handler's own names end with it: the lock must live as long as the run.
    try:
        LOCK.append(hold(Path(RESULTS)))
    except InputError as error:
        sys.exit(f"{error}")
    for problem in PROJECT.problems():
        print(f"will fail: {problem}", file=sys.stderr)
    write_json(f"{RESULTS}/samples.json", PROJECT.volumes)
    for modality in settings.MODALITIES:
        write_text(f"{RESULTS}/trained/{modality}.samples.tsv", PROJECT.training_sheet(modality))
    if ablated := PROJECT.sound("em"):
        write_text(f"{RESULTS}/ablation/samples.tsv", PROJECT.training_sheet("em", ablated))
    for batch, names in PROJECT.batches().items() if PROJECT.settings.batch > 1 else ():
        write_json(
            PROJECT.batch_folder(batch) / "samples.json", {name: PROJECT.volumes[name] for name in names}
        )


onsuccess:
    print(PROJECT.where_results_are())


onerror:
    if LOCK:
        for line in report_failure(
            Path(RESULTS), PROJECT.volumes, f"{RESULTS}/metrics.tsv", f"{RESULTS}/run.json"
        ):
            print(f"failed: {line}", file=sys.stderr)
