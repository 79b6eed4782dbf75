"""Of many likely neurons of a tree, those that lose least whichever of them are the true ones.

The likeliest neurons need not be the best answer: where two are hardly less likely than one, and one would lose much if
there are two, two is the better answer. Minimum Bayes risk (Kumar and Byrne 2004, for translations,
https://aclanthology.org/N04-1022), over neurons drawn as likely as they are.
"""

from collections import Counter

import numpy as np
from scipy.optimize import linear_sum_assignment

from pipeline.tracing.choice import Choice
from pipeline.tracing.ways import Way

# Rounds of drawing that are kept, after some that are not: the first are like what they begin with.
ROUNDS, FIRST = 100, 15
# Of what was drawn so many are judged, by so many, the most frequent: others hardly count.
JUDGED, BY = 60, 200
SEED = 0


def least(choice: Choice) -> tuple[Way, ...]:
    """The way at each place by which the expected F1 of the neurons is greatest. choice: is left at any."""
    first: dict[bytes, tuple[tuple[Way, ...], np.ndarray]] = {}
    count: Counter[bytes] = Counter()
    rng = np.random.default_rng(SEED)
    for number in range(FIRST + ROUNDS):
        choice.draw(rng)
        if number < FIRST:
            continue
        found = shares(choice)
        count[found.tobytes()] += 1
        first.setdefault(found.tobytes(), (choice.chosen(), found))
    often = count.most_common(BY)
    length = np.array(choice.lines.length)
    weight = np.array([times for _, times in often])
    known = [first[key][1] for key, _ in often]
    score = [weight @ [mean_f1(each, true, length) for true in known] for each in known[:JUDGED]]
    return first[often[int(np.argmax(score))][0]][0]


def shares(choice: Choice) -> np.ndarray:
    """bool (neurons, sections): which sections each neuron is of. The long ones; all where none is."""
    neurons = choice.neurons()
    found = np.zeros((len(neurons), len(choice.lines.sections)), bool)
    for row, (sections, _) in enumerate(neurons):
        found[row, list(sections)] = True
    enough = found @ np.array(choice.lines.length) >= choice.min_length_um
    return found[enough] if enough.any() else found


def mean_f1(found: np.ndarray, true: np.ndarray, length: np.ndarray) -> float:
    """F1 by length of each true neuron with the one that is its own, the mean; none is that of two.

    found, true: bool (neurons, sections). length: (sections,).
    """
    both = (found * length) @ true.T.astype(float)
    f1 = 2 * both / ((found @ length)[:, None] + true @ length)
    return float(f1[linear_sum_assignment(-f1)].sum() / len(true))
