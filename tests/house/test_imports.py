"""What really loads in a fresh process, and what the parts that run elsewhere may rely on."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"pandas", "numpy", "pyarrow", "duckdb", "sklearn", "joblib", "azureml", "azure", "streamlit", "plotly"}
LOCAL = ROOT / "services/local"
WORKER = [LOCAL / f"{name}.py" for name in ("worker_main", "worker", "worker_inputs", "frame_rows", "script_output")]
OURS = {"worker", "worker_inputs", "frame_rows", "script_output", "azureml_user"}
CAUSES = ROOT / "services/predictions/causes.py"
IN_THE_USERS_INTERPRETER = [*WORKER, CAUSES, LOCAL / "interpreter_probe.py", *(LOCAL / "entry_script").rglob("*.py")]

OPEN_AN_AZURE_WORKSPACE = """
import pathlib, tempfile
from services.azure.workspace import AzureWorkspace
from services.connection import Connection
workspace = AzureWorkspace(Connection("s", "r", "w", sdk={sdk!r}), pathlib.Path(tempfile.mkdtemp()), blocking=False)
workspace.models(), workspace.compute_targets(), workspace.state()
"""


def loaded_by(statement: str) -> set[str]:
    """Top-level packages in a fresh interpreter after `statement`."""
    code = f"{statement}\nimport sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    child = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(child.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import services.workspace, services.local.workspace, services.predictions.reader, services.intake.uploads",
        "from services.predictions import evaluation, comparison, label_file, snippets",
        "import services.local.runner",
        "import services.__main__",
        "import services.azure.workspace, services.azure.runs.runner",
        *(OPEN_AN_AZURE_WORKSPACE.format(sdk=sdk) for sdk in ("v1", "v2")),
    ],
)
def test_opening_the_workspace_loads_nothing_heavy(statement):
    assert loaded_by(statement) & HEAVY == set()


@cache
def imported_by(path: Path) -> set[str]:
    """The modules that it imports, at the top or in a function."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    named = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return named | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


@pytest.mark.parametrize(("package", "folder"), [("azureml", "sdk_v1"), ("azure.ai.ml", "sdk_v2")])
def test_an_sdk_of_azure_is_imported_in_its_own_folder_only(package, folder):
    paths = [*(ROOT / "services").rglob("*.py"), *(ROOT / "pages").rglob("*.py")]
    importing = {path for path in paths if any(f"{name}.".startswith(f"{package}.") for name in imported_by(path))}
    assert {path.parent for path in importing} == {ROOT / "services/azure" / folder}


def test_a_run_of_a_page_leaves_sys_path_alone_for_a_thread_that_imports():
    code = (
        "import app, sys\nfrom streamlit.runtime.scriptrunner.exec_code import modified_sys_path\nbefore = list(sys.path)\n"
        "with modified_sys_path('pages/shell.py'): assert sys.path == before, sys.path"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("path", IN_THE_USERS_INTERPRETER, ids=lambda path: path.name)
def test_the_worker_needs_the_standard_library_of_python_3_8_only(path):
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 0}
    foreign = {name.partition(".")[0] for name in imported} - set(sys.stdlib_module_names) - OURS
    if path in WORKER:  # it reads tabular data with what that interpreter has
        at_the_top = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
        foreign -= {"pandas", "pyarrow"} - at_the_top
    assert foreign == set()


@pytest.mark.parametrize("path", sorted((ROOT / "batch_scripts").glob("*.py")), ids=lambda path: path.name)
def test_an_entry_script_imports_nothing_of_ours(path):
    assert not any(f"import {room}" in path.read_text() or f"from {room}" in path.read_text() for room in ("services", "pages", "app"))


@pytest.mark.parametrize("path", sorted((ROOT / "batch_scripts").glob("*.py")), ids=lambda path: path.name)
def test_an_entry_script_is_python_3_8_and_imports_frameworks_when_it_needs_them(path):
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))
    at_the_top = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    at_the_top |= {node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)}
    siblings = {sibling.stem for sibling in path.parent.glob("_*.py")}
    own = {"score_images.py": {"PIL"}, "batch_scoring_script.py": {"joblib"}}.get(path.name, set())
    assert {name.partition(".")[0] for name in at_the_top} - set(sys.stdlib_module_names) - siblings <= {"numpy", "pandas", *own}


def test_a_step_on_the_stand_in_of_azure_ml_shares_no_code_with_the_program():
    rooms = ("services", "pages", "app", "batch_scripts")
    paths = [path for path in (ROOT / "tests/azure_service").rglob("*.py") if path.name not in ("fixtures.py", "sample.py")]
    assert len(paths) > 20
    sharing = [path.name for path in paths if re.search(rf"^\s*(?:from|import) (?:{'|'.join(rooms)})\b", path.read_text(), re.MULTILINE)]
    assert sharing == []
