# What natural images bring, and by which transfer: `snakemake ablation --config dataset=DIR`.
from pipeline import ablation_lm

BUDGET_LM = PROJECT.settings.ablation_lm
TREES_LM = [name for name in PROJECT.labelled("lm") if SAMPLES[name].tree]
ABLATION_LM = ablation_lm.variants(BUDGET_LM, PROJECT.settings.train, TREES_LM)
TESTED_LM = ablation_lm.held_out(BUDGET_LM, TREES_LM)


rule ablation:
    input:
        f"{RESULTS}/ablation/{'ablation' if PROJECT.settings.modality == 'em' else 'ablation_lm'}.tsv",


rule ablation_lm:
    input:
        scores=[f"{RESULTS}/ablation/lm/{name}.scores.tsv" for name in ABLATION_LM],
    output:
        table=f"{RESULTS}/ablation/ablation_lm.tsv",
        picture=f"{RESULTS}/ablation/ablation_lm.png",
    log:
        f"{RESULTS}/log/ablation_lm.txt",
    conda:
        "../../envs/pipeline.yaml"
    params:
        version=VERSIONS["ablation_lm_table"],
    shell:
        "python -m pipeline ablation_lm_table {input.scores:q} --output {output.table:q} > {log:q} 2>&1"


# One thread each: as many run side by side as there are cores.
rule ablation_lm_train:
    input:
        images=[f"{RESULTS}/{PROJECT.volumes[name]}/image.zarr" for name in PROJECT.labelled("lm")],
        truth=PROJECT.truths("lm"),
        start=lambda wildcards: ABLATION_LM[wildcards.variant].start or start_of_ablation(),
    output:
        weights=f"{RESULTS}/ablation/lm/{{variant}}.safetensors",
        card=f"{RESULTS}/ablation/lm/{{variant}}.md",
    log:
        f"{RESULTS}/log/ablation_lm_train_{{variant}}.txt",
    wildcard_constraints:
        variant="|".join(map(re.escape, ABLATION_LM)) or "(?!)",
    conda:
        "../../envs/pipeline.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        version=VERSIONS["train"],
        sheet=f"{RESULTS}/trained/lm.samples.tsv",
        options=lambda wildcards, input: settings.options(
            ABLATION_LM[wildcards.variant].settings(
                PROJECT.settings.train, BUDGET_LM, PROJECT.labelled("lm"), start=str(input.start)
            )
        ),
    shell:
        "python -m pipeline train {params.sheet:q} --output {output.weights:q} --workers 0 {params.options}"
        " > {log:q} 2>&1"


rule ablation_lm_score:
    input:
        weights=f"{RESULTS}/ablation/lm/{{variant}}.safetensors",
    output:
        f"{RESULTS}/ablation/lm/{{variant}}.scores.tsv",
    log:
        f"{RESULTS}/log/ablation_lm_score_{{variant}}.txt",
    wildcard_constraints:
        variant="|".join(map(re.escape, ABLATION_LM)) or "(?!)",
    conda:
        "../../envs/pipeline.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        version=VERSIONS["ablation_lm_score"],
        sheet=f"{RESULTS}/trained/lm.samples.tsv",
        tested=" ".join(re.sub(r"[\s*\[\]]", "?", name) for name in TESTED_LM),
        kind=lambda wildcards: ABLATION_LM[wildcards.variant].kind(BUDGET_LM),
        roots=roots(TESTED_LM),
        overlap=PROJECT.settings.tile.overlap,
        precision=PROJECT.settings.train.precision,
    shell:
        "python -m pipeline ablation_lm_score {params.sheet:q} {input.weights:q} --output {output:q}"
        " --tested {params.tested:q} --kind {params.kind:q} {params.roots:q} --overlap {params.overlap}"
        " --precision {params.precision}"
        " > {log:q} 2>&1"
