"""Entry scripts that leave items without a row, each in its own way, and what is known of why: the same for every workspace.

Of the files 0000.csv, 0001.csv and so on (see the fixture csv_folder), 0003.csv and 0006.csv get no row.
"""

from __future__ import annotations

from dataclasses import dataclass

FILES = 8


@dataclass(frozen=True)
class FailingScript:
    """`causes` are the sentences on each failed item where mini-batches are of two files; `template` is what all have in common."""

    source: str
    causes: dict[str, str]
    template: str


def _script(body: str, before: str = "import os") -> str:
    """`body` is what is done with `name` and `path`, and `continue`s where there is to be no row."""
    lines = "\n".join(f"        {line}" for line in body.strip("\n").splitlines())
    return f"""
{before}
def run(mini_batch):
    rows = []
    for path in mini_batch:
        name = os.path.basename(path)
{lines}
        rows.append(f"{{name}}: ok")
    return rows
"""


_BROKEN = 'broken = name in ("0003.csv", "0006.csv")'

LOGS_A_WARNING = FailingScript(
    _script(f"{_BROKEN}\nif broken:\n    log.warning('%r failed: it has %d fields', path, int(name[:4]))\n    continue",
            "import logging, os\nlog = logging.getLogger(__name__)"),
    {"0003.csv": "'0003.csv' failed: it has 3 fields", "0006.csv": "'0006.csv' failed: it has 6 fields"},
    "'…' failed: it has … fields",
)  # fmt: skip
PRINTS_PROGRESS = FailingScript(
    _script(f"print('scoring', path)\n{_BROKEN}\nif broken:\n    print(name, 'is empty')\n    continue\nprint('done', path)"),
    {"0003.csv": "0003.csv is empty", "0006.csv": "0006.csv is empty"},
    "… is empty",
)
WARNS = FailingScript(
    _script(f"{_BROKEN}\nif broken:\n    warnings.warn(f'{{name}} holds no number')\n    continue", "import os, warnings"),
    {"0003.csv": "UserWarning: 0003.csv holds no number", "0006.csv": "UserWarning: 0006.csv holds no number"},
    "UserWarning: … holds no number",
)
PRINTS_A_TRACEBACK = FailingScript(
    _script(f"{_BROKEN}\ntry:\n    if broken: raise ValueError('no header')\nexcept ValueError:\n    traceback.print_exc()\n    continue",
            "import os, traceback"),
    {"0003.csv": "ValueError: no header", "0006.csv": "ValueError: no header"},
    "ValueError: no header",
)  # fmt: skip
SAYS_NOTHING = FailingScript(
    _script(f"{_BROKEN}\nif broken:\n    continue"),
    {
        "0003.csv": "run() returned 1 row for 2 files in mini-batch 1; without a row: 0003.csv",
        "0006.csv": "run() returned 1 row for 2 files in mini-batch 3; without a row: 0006.csv",
    },
    "run() returned … row for … files in mini-batch …; without a row: …",
)
FAILING_SCRIPTS = {
    "logs a warning": LOGS_A_WARNING,
    "prints progress": PRINTS_PROGRESS,
    "warns": WARNS,
    "prints a traceback": PRINTS_A_TRACEBACK,
    "says nothing": SAYS_NOTHING,
}
