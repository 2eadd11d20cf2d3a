"""Entry scripts that leave items without a row, each in its own way, and what is known of why: the same for every workspace.

Of the files 0000.csv, 0001.csv and so on (see the fixture csv_folder), 0003.csv and 0006.csv get no row, nor do those eight further on.
"""

from __future__ import annotations

from dataclasses import dataclass

FILES = 8


@dataclass(frozen=True)
class FailingScript:
    """`cause` is the sentence on a failed item where mini-batches are of two files; `template` is what all have in common."""

    source: str
    cause: str
    template: str

    def causes_from(self, first: int) -> dict[str, str]:
        """The sentences on the failed ones of the eight files from this one on."""
        return {
            f"{first + number:04}.csv": self.cause.format(file=f"{first + number:04}.csv", number=number, mini_batch=(first + number) // 2)
            for number in (3, 6)
        }

    @property
    def causes(self) -> dict[str, str]:
        return self.causes_from(0)


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


_BROKEN = "broken = int(name[:4]) % 8 in (3, 6)"

LOGS_A_WARNING = FailingScript(
    _script(f"{_BROKEN}\nif broken:\n    log.warning('%r failed: it has %d fields', path, int(name[:4]) % 8)\n    continue",
            "import logging, os\nlog = logging.getLogger(__name__)"),
    "'{file}' failed: it has {number} fields",
    "'…' failed: it has … fields",
)  # fmt: skip
PRINTS_PROGRESS = FailingScript(
    _script(f"print('scoring', path)\n{_BROKEN}\nif broken:\n    print(name, 'is empty')\n    continue\nprint('done', path)"),
    "{file} is empty",
    "… is empty",
)
WARNS = FailingScript(
    _script(f"{_BROKEN}\nif broken:\n    warnings.warn(f'{{name}} holds no number')\n    continue", "import os, warnings"),
    "UserWarning: {file} holds no number",
    "UserWarning: … holds no number",
)
PRINTS_A_TRACEBACK = FailingScript(
    _script(f"{_BROKEN}\ntry:\n    if broken: raise ValueError('no header')\nexcept ValueError:\n    traceback.print_exc()\n    continue",
            "import os, traceback"),
    "ValueError: no header",
    "ValueError: no header",
)  # fmt: skip
SAYS_NOTHING = FailingScript(
    _script(f"{_BROKEN}\nif broken:\n    continue"),
    "run() returned 1 row for 2 files in mini-batch {mini_batch}; without a row: {file}",
    "run() returned … row for … files in mini-batch …; without a row: …",
)
NAME_THE_ITEM = (LOGS_A_WARNING, PRINTS_PROGRESS, WARNS, SAYS_NOTHING)
"""What they say names the item, or they say nothing."""


def one_after_another(*sources: str) -> str:
    """A script that does what each of these does, to eight files each."""
    functions = [f"{source}\nrun_{place} = run\n" for place, source in enumerate(sources)]
    choice = "    return globals()[f'run_{int(os.path.basename(mini_batch[0])[:4]) // 8}'](mini_batch)\n"
    return "".join([*functions, "def run(mini_batch):\n", choice])
