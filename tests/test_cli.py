"""The command line: made from signatures, quick to help, one line for a mistake."""

import importlib
import inspect
import os
import subprocess
import sys

import pytest

from conftest import ROOT
from pipeline import config
from pipeline.__main__ import COMMANDS, STAGES, build, main


def run_module(*arguments: str, code: str = "") -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", code] if code else [sys.executable, "-m", "pipeline", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_every_stage_is_a_command_with_the_first_sentence_of_its_docstring():
    modules = {path.stem for path in (ROOT / "pipeline/stages").glob("[a-z]*.py")}
    assert modules == set(STAGES)
    for stage, sentence in STAGES.items():
        run = importlib.import_module(f"pipeline.stages.{stage}").run
        assert inspect.getdoc(run).startswith(sentence)


@pytest.mark.parametrize("stage", [name for name in config.sections() if name in STAGES])
def test_stage_takes_its_own_settings_and_no_others(stage):
    run = importlib.import_module(f"pipeline.stages.{stage}").run
    taken = [each.default for each in inspect.signature(run).parameters.values() if each.name == "settings"]
    assert taken == ([config.sections()[stage]()] if config.sections()[stage].model_fields else [])


@pytest.mark.slow
@pytest.mark.parametrize("stage", [*STAGES, *COMMANDS])
def test_help_documents_every_option_and_imports_nothing_heavy(stage, capsys):
    assert main([stage, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    section = config.sections().get(stage)
    for name, field in section.model_fields.items() if section else ():
        assert f"--{name.replace('_', '-')}" in text
        assert field.description.split()[0] in text
    code = (
        f"import sys; from pipeline.__main__ import main; main(['{stage}', '--help']);"
        "heavy = {'torch', 'timm', 'kimimaro', 'navis', 'matplotlib', 'skimage', 'zarr', 'pandas', 'tifffile'};"
        "print('heavy:', *sorted(heavy & set(sys.modules)))"
    )
    assert run_module(code=code).stdout.splitlines()[-1] == "heavy:"


@pytest.mark.parametrize("arguments", [["--help"], ["trace", "--help"], ["train", "--help"]])
def test_help_answers_in_little_more_than_its_libraries_take_to_import(arguments):
    before = os.times()
    assert run_module(code="import cyclopts, numpy, pydantic").returncode == 0
    between = os.times()
    assert run_module(*arguments).returncode == 0
    after = os.times()
    # A ratio in one run, in processor time: a slow or busy machine stretches both. About a second on an idle one.
    libraries, answer = (
        b.children_user + b.children_system - a.children_user - a.children_system
        for a, b in ((before, between), (between, after))
    )
    assert answer < 3 * libraries


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trcae", "a"], ["trcae", 'Did you mean "trace"?']),
        (["trace", "a", "b", "c", "d", "--gap-mu", "3"], ["--gap-mu", "Did you mean --gap-um?"]),
        (["trace", "a", "b", "c", "d", "--gap-um", "wide"], ["trace: gap_um", "'wide'", "number, 0 <= x"]),
        (["trace", "a", "b", "c", "d", "--gap-um=-1"], ["trace: gap_um", "'-1'", "number, 0 <= x"]),
        (["segment", "a", "b", "--high", "0.3", "--low", "0.6"], ["segment.low: found 0.6, above high"]),
        (["settings", "--write", "--no-such"], ["--no-such"]),
        (["tile", "a"], ["tile", "--weights"]),
        (["tile", "a", "b", "c", "d"], ["'d'"]),
        (["tile", "no/such.zarr", "w.safetensors", "out.json"], ["no/such.zarr"]),
    ],
)
def test_mistake_is_one_line_on_stderr_and_status_2(arguments, words, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert [word for word in words if word not in captured.err] == []


def test_a_failure_of_the_disk_is_one_line(tmp_path, capsys):
    tree = tmp_path / "a.swc"
    tree.write_text("1 1 0 0 0 1 -1\n2 3 9 0 0 1 1\n")
    assert main(["evaluate", "--prediction", str(tree), "--output", str(tree / "m.json")]) == 2
    said = capsys.readouterr().err
    assert str(tree) in said and said.count("\n") == 1


def test_options_rendered_from_a_section_come_back_as_that_section():
    section = config.load({"trace": {"gap_um": 4.5, "spur_um": 1e-7}}).trace
    tokens = ["trace", "a", "b", "c", "d", *config.options(section).split()]
    _, bound, _ = build().parse_args(tokens)
    assert bound.arguments["settings"] == section


def test_what_changes_no_bytes_may_come_from_the_environment_and_nothing_else(monkeypatch):
    monkeypatch.setenv("STACK2SWC_INFER_DEVICE", "cuda")
    monkeypatch.setenv("STACK2SWC_INFER_PRECISION", "bf16")
    monkeypatch.setenv("STACK2SWC_TRACE_GAP_UM", "9")
    _, bound, _ = build().parse_args(["infer", "a", "b", "c", "d"])
    assert bound.arguments["device"] == "cuda"
    assert bound.arguments.get("settings", config.Infer()) == config.Infer()
    _, bound, _ = build().parse_args(["trace", "a", "b", "c", "d"])
    assert bound.arguments.get("settings", config.Trace()) == config.Trace()
