rule evaluate:
    input:
        tree=f"{RESULTS}/{{sample}}/{{sample}}.swc",
        image=f"{RESULTS}/{{sample}}/image.zarr",
        reference=lambda wildcards: PROJECT.reference(wildcards.sample),
    output:
        f"{RESULTS}/{{sample}}/metrics.json",
    log:
        f"{RESULTS}/{{sample}}/log/evaluate.txt",
    benchmark:
        f"{RESULTS}/{{sample}}/log/evaluate.tsv"
    conda:
        "../../envs/pipeline.yaml"
    resources:
        mem_mb=memory("evaluate"),
        runtime=minutes("evaluate"),
    params:
        reference=lambda wildcards: PROJECT.reference_options(wildcards.sample),
        options=stage_options("evaluate"),
    shell:
        "python -m pipeline evaluate --prediction {input.tree:q} --prediction-unit um --image {input.image:q}"
        " {params.reference} --output {output:q} {params.options} > {log:q} 2>&1"


rule draw:
    input:
        image=f"{RESULTS}/{{sample}}/image.zarr",
        tree=f"{RESULTS}/{{sample}}/{{sample}}.swc",
        metrics=f"{RESULTS}/{{sample}}/metrics.json",
        reference=lambda wildcards: PROJECT.reference(wildcards.sample),
    output:
        report(
            f"{RESULTS}/{{sample}}/overview.png",
            caption="../report/overview.rst",
            category="Trees",
            labels={"sample": "{sample}"},
        ),
    log:
        f"{RESULTS}/{{sample}}/log/draw.txt",
    benchmark:
        f"{RESULTS}/{{sample}}/log/draw.tsv"
    conda:
        "../../envs/pipeline.yaml"
    resources:
        mem_mb=memory("draw"),
        runtime=minutes("draw"),
    params:
        reference=lambda wildcards: PROJECT.reference_options(wildcards.sample),
        options=stage_options("draw"),
    shell:
        "python -m pipeline draw {input.image:q} {input.tree:q} {output:q} --metrics {input.metrics:q}"
        " {params.reference} {params.options} > {log:q} 2>&1"
