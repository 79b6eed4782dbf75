rule infer:
    input:
        image=f"{RESULTS}/{{sample}}/image.zarr",
        plan=f"{RESULTS}/{{sample}}/plan.json",
        weights=weights,
    output:
        # Finished blocks of a killed job wait under a hidden name beside it, out of the engine's reach.
        temp(directory(f"{RESULTS}/{{sample}}/blocks")),
    log:
        f"{RESULTS}/{{sample}}/log/infer.txt",
    benchmark:
        f"{RESULTS}/{{sample}}/log/infer.tsv"
    conda:
        "../../envs/pipeline.yaml"
    # Threads reach the stage as OMP_NUM_THREADS. Several samples: one process a core beats many threads a process.
    threads: max(1, (workflow.cores or 1) // max(1, len(SAMPLES)))
    resources:
        mem_mb=memory("infer"),
        runtime=minutes("infer"),
    params:
        version=VERSIONS["infer"],
        seen=lambda wildcards: PROJECT.seen(weights(wildcards)),
        options=stage_options("infer"),
    shell:
        "python -m pipeline infer {input.image:q} {input.plan:q} {input.weights:q} {output:q} {params.options}"
        " > {log:q} 2>&1"


rule stack:
    input:
        image=f"{RESULTS}/{{sample}}/image.zarr",
        plan=f"{RESULTS}/{{sample}}/plan.json",
        blocks=f"{RESULTS}/{{sample}}/blocks",
    output:
        directory(f"{RESULTS}/{{sample}}/prediction.zarr"),
    log:
        f"{RESULTS}/{{sample}}/log/stack.txt",
    benchmark:
        f"{RESULTS}/{{sample}}/log/stack.tsv"
    conda:
        "../../envs/pipeline.yaml"
    resources:
        mem_mb=memory("stack"),
        runtime=minutes("stack"),
    params:
        version=VERSIONS["stack"],
    shell:
        "python -m pipeline stack {input.image:q} {input.plan:q} {input.blocks:q} {output:q} > {log:q} 2>&1"
