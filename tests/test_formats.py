"""Does docs/formats.md say what is true?"""

import sys

from conftest import ROOT
from pipeline.images import FORMATS

sys.path.insert(0, str(ROOT / "benchmarks"))
import formats


def test_the_table_of_formats_is_what_was_tried():
    text = (ROOT / "docs/formats.md").read_text(encoding="utf-8")
    assert formats.table() == text.split(formats.BEGIN)[1].split(formats.END)[0]
    assert "no / no" not in formats.table()


def test_every_suffix_is_named_there():
    text = (ROOT / "docs/formats.md").read_text(encoding="utf-8").lower()
    assert [suffix for suffix in FORMATS if suffix.lstrip(".") not in text] == []
