# What runs inside the job of one batch: the rules of single samples, and the table of the batch as the target.
include: "rules/common.smk"
include: "rules/prepare.smk"
include: "rules/predict.smk"
include: "rules/trace.smk"
include: "rules/instances.smk"
include: "rules/score.smk"


rule summarize_batch:
    input:
        lambda wildcards: expand(
            f"{RESULTS}/{{sample}}/{{file}}",
            sample=PROJECT.batches()[wildcards.batch],
            file=["metrics.json", "overview.png"],
        ),
    output:
        table=f"{RESULTS}/batches/{{batch}}/metrics.tsv",
        run=f"{RESULTS}/batches/{{batch}}/run.json",
    log:
        f"{RESULTS}/batches/{{batch}}/summarize.txt",
    conda:
        "../envs/pipeline.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        version=VERSIONS["summarize"],
        results=lambda wildcards, output: Path(output.table).parents[2],
        samples=lambda wildcards: PROJECT.batch_folder(wildcards.batch) / "samples.json",
    shell:
        "python -m pipeline summarize {params.results:q} {params.samples:q} {output.table:q} {output.run:q}"
        " > {log:q} 2>&1"
