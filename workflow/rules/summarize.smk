localrules:
    all,
    check,
    summarize,


rule summarize:
    input:
        branch(
            PROJECT.settings.batch > 1,
            then=expand(f"{RESULTS}/batches/{{batch}}/metrics.tsv", batch=PROJECT.batches()),
            otherwise=expand(
                f"{RESULTS}/{{sample}}/{{file}}", sample=SAMPLES, file=["metrics.json", "overview.png"]
            ),
        ),
    output:
        table=report(f"{RESULTS}/metrics.tsv", caption="../report/metrics.rst", category="Scores"),
        # Asked for by `all`: after a failed run it is deleted, so that the next one tries the failed samples again.
        run=f"{RESULTS}/run.json",
    log:
        f"{RESULTS}/log/summarize.txt",
    conda:
        "../../envs/pipeline.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        version=VERSIONS["summarize"],
        results=lambda wildcards, output: Path(output.run).parent,
    shell:
        "python -m pipeline summarize {params.results:q} {params.results:q}/samples.json {output.table:q} {output.run:q}"
        " > {log:q} 2>&1"
