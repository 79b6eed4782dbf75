# `snakemake benchmark --config dataset=DIR`: tracings by many tools, and ours where there is an image, on one page.


rule benchmark:
    input:
        f"{RESULTS}/benchmark/leaderboard.html",


rule score_tracings:
    input:
        gold=lambda wildcards: GOLD[wildcards.neuron].gold,
        tracings=lambda wildcards: list(GOLD[wildcards.neuron].tracings.values()),
    output:
        f"{RESULTS}/benchmark/{{neuron}}/tracings.tsv",
    log:
        f"{RESULTS}/benchmark/{{neuron}}/log/tracings.txt",
    conda:
        "../../envs/pipeline.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        version=VERSIONS["evaluate"],
        folder=lambda wildcards, input: Path(input.gold).with_name("auto"),
        unit=lambda wildcards: GOLD[wildcards.neuron].options,
        options=stage_options("evaluate"),
    shell:
        "python -m pipeline evaluate --prediction {params.folder:q} --reference {input.gold:q} {params.unit}"
        " --output {output:q} {params.options} > {log:q} 2>&1"


rule score_own:
    input:
        gold=lambda wildcards: GOLD[wildcards.neuron].gold,
        tree=f"{RESULTS}/{{neuron}}/{{neuron}}.swc",
    output:
        f"{RESULTS}/benchmark/{{neuron}}/own.json",
    log:
        f"{RESULTS}/benchmark/{{neuron}}/log/own.txt",
    conda:
        "../../envs/pipeline.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        version=VERSIONS["evaluate"],
        unit=lambda wildcards: GOLD[wildcards.neuron].options,
        options=stage_options("evaluate"),
    shell:
        "python -m pipeline evaluate --prediction {input.tree:q} --prediction-unit=um --reference {input.gold:q}"
        " {params.unit} --output {output:q} {params.options} > {log:q} 2>&1"


rule leaderboard:
    input:
        benchmark_scores,
    output:
        page=report(f"{RESULTS}/benchmark/leaderboard.html", category="Benchmark"),
        table=f"{RESULTS}/benchmark/leaderboard.tsv",
    log:
        f"{RESULTS}/benchmark/log/leaderboard.txt",
    conda:
        "../../envs/pipeline.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        version=VERSIONS["leaderboard"],
        dataset=PROJECT.folder,
        results=lambda wildcards, output: Path(output.page).parents[1],
        scores=lambda wildcards, output: Path(output.page).parent,
    shell:
        "python -m pipeline leaderboard {params.dataset:q} {params.scores:q} {output.page:q} {output.table:q}"
        " --own {params.results:q} > {log:q} 2>&1"
