"""Do our own readers end well, whatever a file holds? (100,000 inputs each: benchmarks/fuzz_readers.py)"""

import sys

import pytest

from conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import fuzz_readers


@pytest.mark.parametrize("kind", ["v3draw", "v3dpbd", "nrrd", "tiff_header"])
def test_damaged_inputs_are_read_or_refused(kind):
    told = fuzz_readers.fuzz(kind, 400)
    assert told.bad == []
    assert told.read + told.refused == 400
    assert min(told.read, told.refused) > 20
