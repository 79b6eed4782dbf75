# One training a modality: `snakemake train` learns that of the config.
TRAINING = {"lm": "train", "em": "train_em"}


rule dino:
    input:
        PROJECT.pictures(),
    output:
        weights=f"{RESULTS}/trained/vit.safetensors",
        card=f"{RESULTS}/trained/vit.md",
        attention=f"{RESULTS}/trained/vit.png",
    log:
        f"{RESULTS}/log/dino.txt",
    conda:
        "../../envs/pipeline.yaml"
    threads: workflow.cores or 1
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 1440 * attempt,
    params:
        version=VERSIONS["dino"],
        options=stage_options("dino"),
    shell:
        "python -m pipeline dino {input:q} --output {output.weights:q} {params.options} > {log:q} 2>&1"


rule train:
    input:
        weights_trained=f"{RESULTS}/trained/{PROJECT.settings.modality}.safetensors",


rule train_network:
    input:
        images=lambda wildcards: [
            f"{RESULTS}/{PROJECT.volumes[name]}/image.zarr" for name in PROJECT.taught(wildcards.modality)
        ],
        truth=lambda wildcards: PROJECT.truths(wildcards.modality),
        start=lambda wildcards: PRETRAINED if PRETRAINED and wildcards.modality == "lm" else [],
    output:
        weights=f"{RESULTS}/trained/{{modality}}.safetensors",
        card=f"{RESULTS}/trained/{{modality}}.md",
    log:
        f"{RESULTS}/log/train_{{modality}}.txt",
    conda:
        "../../envs/pipeline.yaml"
    threads: workflow.cores or 1
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 1440 * attempt,
    params:
        stage=lambda wildcards: TRAINING[wildcards.modality],
        version=lambda wildcards: VERSIONS[TRAINING[wildcards.modality]],
        # Written before the first job, from the sample sheet.
        sheet=f"{RESULTS}/trained/{{modality}}.samples.tsv",
        options=lambda wildcards: training_options(TRAINING[wildcards.modality]),
    shell:
        "python -m pipeline {params.stage} {params.sheet:q} --output {output.weights:q} --workers {threads}"
        " {params.options} > {log:q} 2>&1"
