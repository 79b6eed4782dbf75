rule evaluate:
    input:
        tree=trees,
        prediction=volume("prediction.zarr"),
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
        version=VERSIONS["evaluate"],
        reference=lambda wildcards: PROJECT.reference_options(wildcards.sample),
        matched=lambda wildcards: "--matched" if PROJECT.many_trees(wildcards.sample) else "",
        options=stage_options("evaluate"),
    shell:
        "python -m pipeline evaluate --prediction {input.tree:q} --prediction-unit um --image {input.prediction:q}"
        " {params.matched} {params.reference} --output {output:q} {params.options} > {log:q} 2>&1"


rule draw:
    input:
        image=volume("image.zarr"),
        tree=trees,
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
        version=VERSIONS["draw"],
        reference=lambda wildcards: PROJECT.reference_options(wildcards.sample),
        options=stage_options("draw"),
    shell:
        "python -m pipeline draw {input.image:q} {input.tree:q} {output:q} --name {wildcards.sample:q} --metrics {input.metrics:q}"
        " {params.reference} {params.options} > {log:q} 2>&1"
