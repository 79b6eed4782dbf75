rule train:
    input:
        PROJECT.training_files(),
    output:
        weights=TRAINED,
        card=Path(TRAINED).with_suffix(".md"),
    log:
        f"{RESULTS}/log/train.txt",
    conda:
        "../../envs/pipeline.yaml"
    threads: workflow.cores or 1
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 1440 * attempt,
    params:
        dataset=PROJECT.folder,
        options=stage_options("train"),
    shell:
        "python -m pipeline train {params.dataset:q} --output {output.weights:q} {params.options} > {log:q} 2>&1"
