# The neurons of a benchmark, and what its page is made from.
from pipeline import contest

try:
    CONTEST = {neuron.name: neuron for neuron in contest.discover(PROJECT.folder)}
except InputError as error:
    sys.exit(f"{error}")

CONTEST_OURS = [name for name in CONTEST if name in SAMPLES]


def contest_scores(wildcards):
    """Inputs of the leaderboard; asked for by the target `benchmark` alone."""
    if not CONTEST:
        sys.exit(
            f"{PROJECT.folder}: no neuron to benchmark on; allowed: {{neuron}}/gold.swc with"
            " {neuron}/auto/{tracer}.swc below it"
        )
    return [
        *expand(f"{RESULTS}/benchmark/{{neuron}}/tracings.tsv", neuron=CONTEST),
        *expand(f"{RESULTS}/benchmark/{{neuron}}/own.json", neuron=CONTEST_OURS),
    ]
