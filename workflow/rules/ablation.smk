# What each part of the training for electron microscopy brings: `snakemake ablation_em --config dataset=DIR modality=em`.
from pipeline.ablation import pretrainings, variants

ABLATION = variants(PROJECT.settings.ablation, PROJECT.labelled("em"))
PRETRAININGS = pretrainings(ABLATION)


rule ablation_em:
    input:
        scores=[f"{RESULTS}/ablation/{name}.scores.tsv" for name in ABLATION],
    output:
        f"{RESULTS}/ablation/ablation.tsv",
    log:
        f"{RESULTS}/log/ablation_em.txt",
    conda:
        "../../envs/pipeline.yaml"
    params:
        version=VERSIONS["ablation_table"],
    shell:
        "python -m pipeline ablation_table {input.scores:q} --output {output:q} > {log:q} 2>&1"


rule ablation_pretrain:
    input:
        images=[f"{RESULTS}/{PROJECT.volumes[name]}/image.zarr" for name in PROJECT.sound("em")],
        truth=PROJECT.truths("em"),
    output:
        weights=f"{RESULTS}/ablation/{{pretraining}}.safetensors",
        card=f"{RESULTS}/ablation/{{pretraining}}.md",
    log:
        f"{RESULTS}/log/ablation_pretrain_{{pretraining}}.txt",
    wildcard_constraints:
        pretraining="|".join(map(re.escape, PRETRAININGS)) or "(?!)",
    conda:
        "../../envs/pipeline.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        version=VERSIONS["train_em"],
        sheet=f"{RESULTS}/ablation/samples.tsv",
        options=lambda wildcards: settings.options(
            PRETRAININGS[wildcards.pretraining].settings_before(
                PROJECT.settings.train_em, PROJECT.settings.ablation, PROJECT.labelled("em")
            )
        ),
    shell:
        "python -m pipeline train_em {params.sheet:q} --output {output.weights:q} --workers 0 {params.options}"
        " > {log:q} 2>&1"


rule ablation_train:
    input:
        images=[f"{RESULTS}/{PROJECT.volumes[name]}/image.zarr" for name in PROJECT.sound("em")],
        truth=PROJECT.truths("em"),
        start=lambda wildcards: [
            f"{RESULTS}/ablation/{name}.safetensors"
            for name in filter(None, [ABLATION[wildcards.variant].pretraining])
        ],
    output:
        weights=f"{RESULTS}/ablation/{{variant}}.safetensors",
        card=f"{RESULTS}/ablation/{{variant}}.md",
    log:
        f"{RESULTS}/log/ablation_train_{{variant}}.txt",
    wildcard_constraints:
        variant="|".join(map(re.escape, ABLATION)) or "(?!)",
    conda:
        "../../envs/pipeline.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        version=VERSIONS["train_em"],
        sheet=f"{RESULTS}/ablation/samples.tsv",
        options=lambda wildcards, input: settings.options(
            ABLATION[wildcards.variant].settings(
                PROJECT.settings.train_em,
                PROJECT.settings.ablation,
                PROJECT.labelled("em"),
                start=str(input.get("start", "")),
            )
        ),
    shell:
        "python -m pipeline train_em {params.sheet:q} --output {output.weights:q} --workers 0 {params.options}"
        " > {log:q} 2>&1"


rule ablation_score:
    input:
        weights=f"{RESULTS}/ablation/{{variant}}.safetensors",
    output:
        f"{RESULTS}/ablation/{{variant}}.scores.tsv",
    log:
        f"{RESULTS}/log/ablation_score_{{variant}}.txt",
    wildcard_constraints:
        variant="|".join(map(re.escape, ABLATION)) or "(?!)",
    conda:
        "../../envs/pipeline.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        version=VERSIONS["ablation_score"],
        sheet=f"{RESULTS}/ablation/samples.tsv",
        betas=PROJECT.settings.ablation.betas,
        overlap=PROJECT.settings.tile.overlap_em,
    shell:
        "python -m pipeline ablation_score {params.sheet:q} {input.weights:q} --output {output:q}"
        " --betas {params.betas} --overlap {params.overlap} > {log:q} 2>&1"
