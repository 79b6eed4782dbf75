# The neurons of a benchmark, and what its page is made from.
from pipeline.benchmark import gold

try:
    GOLD = {neuron.name: neuron for neuron in gold.discover(PROJECT.folder)}
except InputError as error:
    sys.exit(f"{error}")

WITH_IMAGE = [name for name in GOLD if name in SAMPLES]


def benchmark_scores(wildcards):
    """Inputs of the leaderboard; asked for by the target `benchmark` alone."""
    if not GOLD:
        sys.exit(
            f"{PROJECT.folder}: no neuron to benchmark on; allowed: {{neuron}}/gold.swc with"
            " {neuron}/auto/{tracer}.swc below it"
        )
    return [
        *expand(f"{RESULTS}/benchmark/{{neuron}}/tracings.tsv", neuron=GOLD),
        *expand(f"{RESULTS}/benchmark/{{neuron}}/own.json", neuron=WITH_IMAGE),
    ]
