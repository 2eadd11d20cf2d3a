"""The documents say what the program does."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services import environment_variables
from services.settings import TABLE, ParallelRunSettings

ROOT = Path(__file__).parents[2]


def settings_table() -> str:
    """docs/settings.md's table, made from the one in services/settings.py."""
    rows = ["| setting | default | what it does |", "|---|---|---|"]
    for name, setting in TABLE.items():
        default = ParallelRunSettings.default(name)
        rows.append(f"| `{name}` | {setting.unset if default is None else f'`{default}`'} | {setting.help} |")
    return "\n".join(rows)


def test_every_setting_is_documented_as_it_is():
    document = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert settings_table() in document, f"docs/settings.md should hold:\n{settings_table()}"


def variables_table(variables: dict[str, environment_variables.Variable]) -> str:
    """One of docs/environment_variables.md's tables, made from services/environment_variables.py."""
    rows = ["| variable | default | meaning | read by |", "|---|---|---|---|"]
    rows += [f"| `{name}` | {variable.default} | {variable.meaning} | {variable.read_by} |" for name, variable in variables.items()]
    return "\n".join(rows)


@pytest.mark.parametrize("tables", ["PROGRAM", "AZURE", "ENTRY_SCRIPT", "INSTALLERS", "DEVELOPMENT"])
def test_every_environment_variable_is_documented_as_it_is(tables):
    document = (ROOT / "docs" / "environment_variables.md").read_text(encoding="utf-8")
    table = variables_table(getattr(environment_variables, tables))
    assert table in document, f"docs/environment_variables.md should hold:\n{table}"


def sources() -> Iterator[tuple[Path, str]]:
    for folder in ("services", "pages", "batch_scripts", "benchmarks", "tests", "docs", ".ci"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.suffix in (".py", ".md", "") and "__pycache__" not in path.parts:
                yield path, path.read_text(encoding="utf-8")
    for name in ("app.py", "launcher.py", "Makefile", "README.md", "CHANGELOG.md"):
        yield ROOT / name, (ROOT / name).read_text(encoding="utf-8")


def variables_read(source: str) -> Iterator[str]:
    """The names by which Python source reads the environment, or sets it for good; `?` for a name that isn't written there."""
    if not re.search(r"environ\b|getenv", source):
        return
    for node in ast.walk(ast.parse(source)):
        name: ast.expr | None = None
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
            name = node.slice
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("os.environ.get", "os.getenv", "environ.get", "getenv"):
            name = node.args[0]
        if name is not None:
            yield name.value if isinstance(name, ast.Constant) and isinstance(name.value, str) else "?"


def test_every_environment_variable_that_is_used_is_in_the_table():
    used = {(name, path.name) for path, text in sources() for name in re.findall(r"BATCH_SCORING_[A-Z_]*[A-Z]", text)}
    for path, text in sources():
        if path.suffix == ".py":
            used |= {(name, path.name) for name in variables_read(text) if name not in ("?", "PATH", "HOME")}
    assert {(name, path) for name, path in used if name not in environment_variables.TABLE} == set()


def test_the_program_reads_its_environment_in_one_place():
    reads = {
        path.relative_to(ROOT / "services").as_posix()
        for folder in (ROOT / "services", ROOT / "pages")
        for path in folder.rglob("*.py")
        if "entry_script/" not in path.as_posix() and any(variables_read(path.read_text(encoding="utf-8")))
    }
    assert reads <= {"environment_variables.py", "azure/auth/session.py"}  # the latter sets what the SDK reads


def test_every_file_that_a_document_links_to_is_there():
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_the_readmes_commands_are_targets_of_the_makefile():
    readme, makefile = (ROOT / "README.md").read_text(encoding="utf-8"), (ROOT / "Makefile").read_text(encoding="utf-8")
    wanted = set(re.findall(r"make ([a-z]+)", readme)) - {"and"}
    assert {"run", "test", "check"} <= wanted <= set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))


@pytest.mark.parametrize("document", ["contract.md", "azure.md"])
def test_every_test_that_a_document_names_is_there(document):
    named = re.findall(r"`(test_\w+)`", (ROOT / "docs" / document).read_text(encoding="utf-8"))
    assert named
    written = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name in named if f"def {name}(" not in written] == []


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/*.md", "docs/decisions/*.md"])
def test_every_module_that_a_document_names_is_there(document):
    folders = ("services", "pages", "batch_scripts", "benchmarks", "tests", "docs")
    modules = ["/" + path.relative_to(ROOT).as_posix() for folder in folders for path in (ROOT / folder).rglob("*.py")]
    modules += ["/" + path.name for path in ROOT.glob("*.py")]
    for path in ROOT.glob(document):
        named = set(re.findall(r"`([a-z0-9_/]+\.py)`", path.read_text(encoding="utf-8")))
        assert sorted(name for name in named if not any(module.endswith(f"/{name}") for module in modules)) == [], path.name


def test_the_map_and_the_import_graphs_are_as_the_code_is():
    # In a process of its own: in this one, `pages` would be tests/pages as well.
    checked = subprocess.run([sys.executable, "-m", "docs.house_map", "--check"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
