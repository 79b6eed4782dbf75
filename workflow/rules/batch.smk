# Thousands of small images: the engine plans one job a batch, and in that job runs itself over the samples of the
# batch (workflow/batch.smk). So skipping what is done and going on after a bad sample are its own there too.


rule batch:
    input:
        snakefile=f"{workflow.basedir}/workflow/batch.smk",
        images=lambda wildcards: [
            path for name in PROJECT.batches()[wildcards.batch] for path in PROJECT.image(name)
        ],
        references=lambda wildcards: [
            path for name in PROJECT.batches()[wildcards.batch] for path in PROJECT.reference(name)
        ],
        weights=lambda wildcards: sorted(
            {weights_of(PROJECT.modality(name)) for name in PROJECT.batches()[wildcards.batch]}
        ),
    output:
        f"{RESULTS}/batches/{{batch}}/metrics.tsv",
    log:
        f"{RESULTS}/batches/{{batch}}/log.txt",
    conda:
        "../../envs/pipeline.yaml"
    # More by --set-threads batch=16: as many samples at once.
    threads: 1
    resources:
        mem_mb=lambda wildcards, threads, attempt: batch_mem_mb(
            PROJECT.batch_voxels(wildcards.batch), threads=threads, attempt=attempt
        ),
        runtime=lambda wildcards, threads, attempt: batch_runtime(
            PROJECT.batch_voxels(wildcards.batch), threads=threads, attempt=attempt
        ),
    params:
        version=VERSIONS,
        config=PROJECT.config_arguments(),
        seen=lambda wildcards, input: PROJECT.seen(*input.images, *input.references, *input.weights),
    shell:
        "snakemake --snakefile {input.snakefile:q} --cores {threads} --nolock --keep-going --rerun-incomplete"
        " --show-failed-logs {output:q} --config {params.config} > {log:q} 2>&1"
