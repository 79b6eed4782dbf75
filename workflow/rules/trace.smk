rule segment:
    input:
        f"{RESULTS}/{{sample}}/probability.zarr",
    output:
        directory(f"{RESULTS}/{{sample}}/labels.zarr"),
    log:
        f"{RESULTS}/{{sample}}/log/segment.txt",
    benchmark:
        f"{RESULTS}/{{sample}}/log/segment.tsv"
    conda:
        "../../envs/pipeline.yaml"
    resources:
        mem_mb=memory("segment"),
        runtime=minutes("segment"),
    params:
        options=stage_options("segment"),
    shell:
        "python -m pipeline segment {input:q} {output:q} {params.options} > {log:q} 2>&1"


rule trace:
    input:
        labels=f"{RESULTS}/{{sample}}/labels.zarr",
        probability=f"{RESULTS}/{{sample}}/probability.zarr",
        image=f"{RESULTS}/{{sample}}/image.zarr",
    output:
        f"{RESULTS}/{{sample}}/{{sample}}.swc",
    log:
        f"{RESULTS}/{{sample}}/log/trace.txt",
    benchmark:
        f"{RESULTS}/{{sample}}/log/trace.tsv"
    conda:
        "../../envs/pipeline.yaml"
    resources:
        mem_mb=memory("trace"),
        runtime=minutes("trace"),
    params:
        options=lambda wildcards: PROJECT.trace_options(wildcards.sample),
    shell:
        "python -m pipeline trace {input.labels:q} {input.probability:q} {input.image:q} {output:q} {params.options}"
        " > {log:q} 2>&1"
