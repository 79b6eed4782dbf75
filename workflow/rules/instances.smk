# Electron microscopy: dense tissue, every cell.


rule agglomerate:
    input:
        prediction=f"{RESULTS}/{{sample}}/prediction.zarr",
        image=volume("image.zarr"),
    output:
        directory(f"{RESULTS}/{{sample}}/labels.zarr"),
    log:
        f"{RESULTS}/{{sample}}/log/agglomerate.txt",
    benchmark:
        f"{RESULTS}/{{sample}}/log/agglomerate.tsv"
    wildcard_constraints:
        sample=of_modality("em"),
    conda:
        "../../envs/pipeline.yaml"
    resources:
        mem_mb=memory("agglomerate"),
        runtime=minutes("agglomerate"),
    params:
        version=VERSIONS["agglomerate"],
        options=stage_options("agglomerate"),
    shell:
        "python -m pipeline agglomerate {input.prediction:q} {output:q} --image {input.image:q} {params.options}"
        " > {log:q} 2>&1"


rule skeletonize:
    input:
        labels=volume("labels.zarr"),
        prediction=volume("prediction.zarr"),
    output:
        trees=directory(f"{RESULTS}/{{sample}}/trees"),
        table=f"{RESULTS}/{{sample}}/neurons.tsv",
    log:
        f"{RESULTS}/{{sample}}/log/skeletonize.txt",
    benchmark:
        f"{RESULTS}/{{sample}}/log/skeletonize.tsv"
    wildcard_constraints:
        sample=of_modality("em"),
    conda:
        "../../envs/pipeline.yaml"
    threads: max(1, (workflow.cores or 1) // max(1, len(SAMPLES)))
    resources:
        mem_mb=memory("skeletonize"),
        runtime=minutes("skeletonize"),
    params:
        version=VERSIONS["skeletonize"],
        options=stage_options("skeletonize"),
    shell:
        "python -m pipeline skeletonize {input.labels:q} {input.prediction:q} {output.trees:q} {output.table:q}"
        " --workers {threads} {params.options} > {log:q} 2>&1"
