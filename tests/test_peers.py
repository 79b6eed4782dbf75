"""Is the baseline of the benchmark cut where it says, whatever the settings?"""

import sys

import numpy as np
import pytest

from conftest import ROOT
from pipeline import config
from pipeline.tracing.segment import components

sys.path.insert(0, str(ROOT / "benchmarks"))
import peers

SETTINGS = [config.Segment()] + [
    config.Segment(high=high, low=low)
    for high, low in ((0.6, 0.3), (0.7, 0.1), (0.3, 0.3), (0.999, 0.001), (0.2, 0.1), (0.55, 0.45))
]
THRESHOLD = 40.0


@pytest.mark.parametrize("segment", SETTINGS, ids=lambda each: f"{each.high}/{each.low}")
def test_what_reaches_the_threshold_and_nothing_else_reaches_the_settings(segment):
    hair = 0.05
    shares = np.array([0, peers.LOW_SHARE - hair, peers.LOW_SHARE, 1 - hair, 1, 1 + hair, 3])
    values = peers.as_probability(shares * THRESHOLD, THRESHOLD, segment)
    assert (values >= np.float32(segment.low * 255)).tolist() == [False] * 2 + [True] * 5
    if segment.high > segment.low:
        assert (values >= np.float32(segment.high * 255)).tolist() == [False] * 4 + [True] * 3


def test_segment_cuts_the_baseline_as_hysteresis_cuts_the_image():
    """A piece from .6 of the threshold on is kept where it holds a voxel at the threshold."""
    image = np.zeros((4, 20, 30), np.float32)
    image[1:3, 4:8, 4:26] = peers.LOW_SHARE * THRESHOLD
    image[1:3, 12:16, 4:26] = 0.99 * THRESHOLD
    image[1, 5, 5] = THRESHOLD
    labels = components(
        peers.as_probability(image, THRESHOLD, config.Segment()), (1.0, 1.0, 1.0), config.Segment()
    )
    kept = np.zeros(image.shape, bool)
    kept[1:3, 4:8, 4:26] = True
    np.testing.assert_array_equal(labels > 0, kept)


def test_the_best_threshold_is_chosen_on_the_answer():
    tried = {
        name: {share: {"f1": 0.5 - abs(share - best)} for share in peers.SHARES} | {peers.NETWORK: {"f1": 1}}
        for name, best in (("a", 0.5), ("b", 0.7), ("c", 0.7))
    }
    found = peers.rows(tried)
    assert [found[peers.BEST][name]["f1"] for name in "abc"] == [0.5, 0.5, 0.5]
    assert peers.best_for_all(tried) == 0.7
    assert found[peers.OTSU]["b"]["f1"] == pytest.approx(0.2)
