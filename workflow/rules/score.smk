rule evaluate:
    input:
        tree=trees,
        prediction=volume("prediction.zarr"),
        table=f"{RESULTS}/{{sample}}/neurons.tsv",
        reference=lambda wildcards: PROJECT.reference(wildcards.sample),
    output:
        f"{RESULTS}/{{sample}}/metrics.json",
    log:
        f"{RESULTS}/{{sample}}/log/evaluate.txt",
    benchmark:
        f"{RESULTS}/{{sample}}/log/evaluate.tsv"
    wildcard_constraints:
        sample=of_modality("lm"),
    conda:
        "../../envs/pipeline.yaml"
    resources:
        mem_mb=memory("evaluate"),
        runtime=minutes("evaluate"),
    params:
        version=VERSIONS["evaluate"],
        seen=lambda wildcards: PROJECT.seen(*PROJECT.reference(wildcards.sample)),
        reference=lambda wildcards: PROJECT.reference_options(wildcards.sample),
        matched=lambda wildcards: "--matched" if PROJECT.many_trees(wildcards.sample) else "",
        options=stage_options("evaluate"),
    shell:
        "python -m pipeline evaluate --prediction {input.tree:q} --prediction-unit um --image {input.prediction:q}"
        " --table {input.table:q}"
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
    wildcard_constraints:
        sample=of_modality("lm"),
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


# Electron microscopy: the cells and the trees of all of them.


rule evaluate_cells:
    input:
        labels=volume("labels.zarr"),
        trees=trees,
        table=f"{RESULTS}/{{sample}}/neurons.tsv",
        reference=lambda wildcards: PROJECT.reference(wildcards.sample),
    output:
        f"{RESULTS}/{{sample}}/metrics.json",
    log:
        f"{RESULTS}/{{sample}}/log/evaluate.txt",
    benchmark:
        f"{RESULTS}/{{sample}}/log/evaluate.tsv"
    wildcard_constraints:
        sample=of_modality("em"),
    conda:
        "../../envs/pipeline.yaml"
    resources:
        mem_mb=memory("evaluate_cells"),
        runtime=minutes("evaluate_cells"),
    params:
        version=VERSIONS["evaluate"],
        seen=lambda wildcards: PROJECT.seen(*PROJECT.reference(wildcards.sample)),
        reference=lambda wildcards: PROJECT.reference_options(wildcards.sample),
        options=stage_options("evaluate"),
    shell:
        "python -m pipeline evaluate --prediction {input.labels:q} --trees {input.trees:q} --image {input.labels:q}"
        " {params.reference} --output {output:q} {params.options} > {log:q} 2>&1"


rule draw_cells:
    input:
        image=volume("image.zarr"),
        labels=volume("labels.zarr"),
        trees=trees,
        metrics=f"{RESULTS}/{{sample}}/metrics.json",
        reference=lambda wildcards: PROJECT.reference(wildcards.sample),
    output:
        report(
            f"{RESULTS}/{{sample}}/overview.png",
            caption="../report/overview_cells.rst",
            category="Trees",
            labels={"sample": "{sample}"},
        ),
    log:
        f"{RESULTS}/{{sample}}/log/draw.txt",
    benchmark:
        f"{RESULTS}/{{sample}}/log/draw.tsv"
    wildcard_constraints:
        sample=of_modality("em"),
    conda:
        "../../envs/pipeline.yaml"
    resources:
        mem_mb=memory("draw_cells"),
        runtime=minutes("draw_cells"),
    params:
        version=VERSIONS["draw"],
        reference=lambda wildcards: PROJECT.reference_options(wildcards.sample, "reference"),
        options=stage_options("draw"),
    shell:
        "python -m pipeline draw {input.image:q} {input.trees:q} {output:q} --labels {input.labels:q} --name {wildcards.sample:q}"
        " --metrics {input.metrics:q} {params.reference} {params.options} > {log:q} 2>&1"
