"""Do the programs in benchmarks/ still find what they import?"""

import ast
import importlib.util
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
PROGRAMS = sorted(FOLDER.glob("*.py"))


def defined(path: Path) -> set[str]:
    """Names that a program defines at its top level."""
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {
                leaf.id for target in node.targets for leaf in ast.walk(target) if isinstance(leaf, ast.Name)
            }
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_what_a_program_imports_is_there(program):
    """From its neighbours and from the pipeline; programs are run seldom, and a renamed function is not seen else."""
    for node in ast.walk(ast.parse(program.read_text())):
        if not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        wanted = {alias.name for alias in node.names}
        neighbour = FOLDER / f"{node.module}.py"
        if neighbour.is_file():
            assert wanted <= defined(neighbour), node.module
        elif node.module.split(".")[0] == "pipeline":
            module = importlib.import_module(node.module)
            for name in wanted:
                assert hasattr(module, name) or importlib.util.find_spec(f"{node.module}.{name}"), name
