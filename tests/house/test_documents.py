"""The documents say what the program does."""

import re
from pathlib import Path

import pytest

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


def test_every_file_that_a_document_links_to_is_there():
    for document in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
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
