# The processes of single jobs read this file too, and are silent.
if workflow.is_main_process and (passed_over := PROJECT.passed_over()):
    print(passed_over, file=sys.stderr)

if PROJECT.is_demo:

    rule simulate:
        output:
            images=[sample.image for sample in SAMPLES.values()],
            references=[sample.reference for sample in SAMPLES.values()],
            skeletons=[directory(sample.skeletons) for sample in SAMPLES.values() if sample.skeletons],
            sheet=PROJECT.folder / "samples.tsv",
        log:
            f"{RESULTS}/log/simulate.txt",
        conda:
            "../../envs/pipeline.yaml"
        resources:
            mem_mb=2000,
            runtime=20,
        params:
            version=VERSIONS["simulate"],
            folder=PROJECT.folder,
            modality="--modality=em" if PROJECT.settings.modality == "em" else "",
            options=stage_options("simulate"),
        shell:
            "python -m pipeline simulate {params.folder:q} {params.modality} {params.options} > {log:q} 2>&1"


# The first job of a run, beside ingest: all mistakes at once, and none of them fails the others. (The example needs none.)
rule check:
    input:
        [path for name in SAMPLES for path in PROJECT.image(name)],
    output:
        f"{RESULTS}/check.tsv",
    log:
        f"{RESULTS}/log/check.txt",
    priority: 100
    conda:
        "../../envs/pipeline.yaml"
    resources:
        mem_mb=1500,
        runtime=30,
    params:
        folder=PROJECT.folder,
        options=PROJECT.check_options(),
    shell:
        "python -m pipeline check {params.folder:q} {params.options} --output {output:q} > {log:q} 2>&1"


rule ingest:
    input:
        lambda wildcards: PROJECT.image(wildcards.sample),
    output:
        directory(f"{RESULTS}/{{sample}}/image.zarr"),
    log:
        f"{RESULTS}/{{sample}}/log/ingest.txt",
    benchmark:
        f"{RESULTS}/{{sample}}/log/ingest.tsv"
    conda:
        "../../envs/pipeline.yaml"
    resources:
        mem_mb=memory("ingest"),
        runtime=minutes("ingest"),
    params:
        version=VERSIONS["ingest"],
        image=lambda wildcards: SAMPLES[wildcards.sample].image,
        seen=lambda wildcards: PROJECT.seen(*PROJECT.image(wildcards.sample)),
        options=lambda wildcards: PROJECT.ingest_options(wildcards.sample),
    shell:
        "python -m pipeline ingest {params.image:q} {output:q} {params.options} > {log:q} 2>&1"


rule tile:
    input:
        image=f"{RESULTS}/{{sample}}/image.zarr",
        weights=weights,
    output:
        f"{RESULTS}/{{sample}}/plan.json",
    log:
        f"{RESULTS}/{{sample}}/log/tile.txt",
    benchmark:
        f"{RESULTS}/{{sample}}/log/tile.tsv"
    conda:
        "../../envs/pipeline.yaml"
    resources:
        mem_mb=memory("tile"),
        runtime=minutes("tile"),
    params:
        version=VERSIONS["tile"],
        seen=lambda wildcards: PROJECT.seen(weights(wildcards)),
        options=stage_options("tile"),
    shell:
        "python -m pipeline tile {input.image:q} {input.weights:q} {output:q} {params.options} > {log:q} 2>&1"
