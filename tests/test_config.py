"""Settings: one truth, and a clear line for each mistake."""

import json
import re
from typing import Literal, get_args, get_origin

import jsonschema
import pytest
import yaml

from conftest import ROOT
from pipeline import config, config_files
from pipeline.config.base import why
from pipeline.errors import InputError


@pytest.mark.parametrize("name", config_files.render())
def test_file_is_what_the_models_say(name):
    assert (ROOT / name).read_text() == config_files.render()[name], "run python -m pipeline settings --write"


def test_config_file_is_the_defaults_and_fits_the_schema():
    values = yaml.safe_load((ROOT / "config.yaml").read_text())
    assert config.load(values) == config.Config()
    jsonschema.validate(values, json.loads((ROOT / config_files.SCHEMA).read_text()))


def test_every_setting_has_a_sentence():
    assert [
        name for name, field in config.dotted(config.Config) if not (field.description or "").endswith(".")
    ] == []


def test_every_default_has_a_reason():
    assert [name for name, field in config.dotted(config.Config) if not why(field)] == []


def test_a_table_of_the_docs_has_as_many_cells_in_every_row():
    rows = [line for line in config_files.render()["docs/settings.md"].splitlines() if line.startswith("|")]
    assert {len(re.split(r"(?<!\\)\|", row)) for row in rows} == {7}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"trace": {"gap_mu": 3}}, ["trace.gap_mu", "did you mean trace.gap_um?"]),
        ({"gap_um": 3}, ["gap_um", "did you mean trace.gap_um?"]),
        ({"traec": {}}, ["traec", "did you mean trace?"]),
        ({"infer": {"batch_size": 3}}, ["infer.batch_size", "is not a setting"]),
        ({"trace": {"gap_um": "wide"}}, ["trace.gap_um", "'wide'", "number, 0 <= x"]),
        ({"trace": {"gap_um": True}}, ["trace.gap_um", "True", "number"]),
        ({"trace": {"gap_um": float("nan")}}, ["trace.gap_um", "nan"]),
        ({"segment": {"high": 1.5}}, ["segment.high", "1.5", "x < 1"]),
        ({"batch": 1.5}, ["batch", "1.5", "whole number, 1 <= x"]),
        ({"trace": 3}, ["trace", "found 3", "a section with trace."]),
        ({"dataset": {"a": "b"}}, ["dataset", "{'a': 'b'}", "text"]),  # --config 'dataset=a: b'
        ({"dataset": 1e3}, ["dataset", "1000.0", "text"]),  # --config dataset=1e3: the folder's name is lost
        ({"results": None}, ["results", "not empty"]),
        ({"voxel_size": "1,0.3"}, ["voxel_size", "'1,0.3'", "three positive numbers"]),
        ({"voxel_size": "1,0,1"}, ["voxel_size", "'1,0,1'", "three positive numbers"]),
    ],
)
def test_mistake_is_one_line_with_key_found_and_allowed(values, words):
    with pytest.raises(InputError) as caught:
        config.load(values)
    line = str(caught.value)
    assert "\n" not in line
    assert [word for word in words if word not in line] == []


def test_values_as_snakemakes_command_line_makes_them():
    read = config.load(
        {
            "dataset": 2024,
            "weights": None,
            "batch": "5",
            "trace": {"gap_um": "2.5"},
            "voxel_size": [1, 0.3, 0.3],
        }
    )
    assert (read.dataset, read.weights.lm, read.batch, read.trace.gap_um) == ("2024", "", 5, 2.5)
    assert read.voxel_size == "1.0,0.3,0.3"
    assert (
        config.load({"voxel_size": "1.0, 0.33, 0.33"}).voxel_size == "1.0,0.33,0.33"
    )  # one argument, no blanks


def test_plain_weights_serve_either_modality_and_a_section_each_its_own():
    assert config.load({"weights": "a.safetensors"}).weights.model_dump() == {
        "lm": "a.safetensors",
        "em": "a.safetensors",
    }
    assert config.load({"weights": {"em": "b"}}).weights.lm == config.Config().weights.lm


def test_an_empty_section_is_its_defaults():
    assert config.load({"trace": None}) == config.Config()  # "trace:" with nothing below it


def test_options_name_every_setting_and_do_not_depend_on_how_a_number_was_written():
    section = config.load({"trace": {"gap_um": 4}}).trace
    assert config.options(section) == config.options(config.load({"trace": {"gap_um": "4.0"}}).trace)
    assert "--gap-um=4.0" in config.options(section).split()
    assert len(config.options(section).split()) == len(config.Trace.model_fields)


@pytest.mark.parametrize("text", ["1,2", "1,2,x", "1,2,nan", "1,2,inf", "0,1,1", "1;2;3"])
def test_three_numbers_or_an_error(text):
    with pytest.raises(InputError, match="sheet"):
        config.parse_triple("sheet", text)


def test_three_numbers():
    assert config.parse_triple("sheet", "1.0, 0.33,0.33") == (1.0, 0.33, 0.33)
    assert config.parse_triple("sheet", "") is None
    assert config.parse_triple("sheet", "-1,0,3", positive=False) == (-1, 0, 3)


@pytest.mark.parametrize("name", config.sections())
def test_choices_are_words_since_an_option_is_text(name):
    for field in config.sections()[name].model_fields.values():
        if get_origin(field.annotation) is Literal:
            assert all(isinstance(choice, str) for choice in get_args(field.annotation))
