# Light microscopy: labelled neurons on a dark ground.


rule segment:
    input:
        prediction=f"{RESULTS}/{{sample}}/prediction.zarr",
        image=volume("image.zarr"),
    output:
        directory(f"{RESULTS}/{{sample}}/labels.zarr"),
    log:
        f"{RESULTS}/{{sample}}/log/segment.txt",
    benchmark:
        f"{RESULTS}/{{sample}}/log/segment.tsv"
    wildcard_constraints:
        sample=of_modality("lm"),
    conda:
        "../../envs/pipeline.yaml"
    resources:
        mem_mb=memory("segment"),
        runtime=minutes("segment"),
    params:
        version=VERSIONS["segment"],
        options=stage_options("segment"),
    shell:
        "python -m pipeline segment {input.prediction:q} {output:q} --image {input.image:q} {params.options} > {log:q} 2>&1"


rule trace:
    input:
        labels=volume("labels.zarr"),
        prediction=volume("prediction.zarr"),
        image=volume("image.zarr"),
    output:
        trees=branch(
            PROJECT.settings.trace.neurons == "all",
            then=directory(f"{RESULTS}/{{sample}}/trees"),
            otherwise=f"{RESULTS}/{{sample}}/{{sample}}.swc",
        ),
        confidence=branch(
            PROJECT.settings.trace.neurons == "all",
            then=[],
            otherwise=f"{RESULTS}/{{sample}}/{{sample}}.confidence.tsv",
        ),
        table=f"{RESULTS}/{{sample}}/neurons.tsv",
    log:
        f"{RESULTS}/{{sample}}/log/trace.txt",
    benchmark:
        f"{RESULTS}/{{sample}}/log/trace.tsv"
    wildcard_constraints:
        sample=of_modality("lm"),
    conda:
        "../../envs/pipeline.yaml"
    resources:
        mem_mb=memory("trace"),
        runtime=minutes("trace"),
    params:
        version=VERSIONS["trace"],
        options=lambda wildcards: PROJECT.trace_options(wildcards.sample),
    shell:
        "python -m pipeline trace {input.labels:q} {input.prediction:q} {output.trees:q} {output.table:q}"
        " --image {input.image:q} {params.options} > {log:q} 2>&1"
