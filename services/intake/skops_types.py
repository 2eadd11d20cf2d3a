"""Which types of a skops file skops does not trust by itself: `python -m services.intake.skops_types FILE`, since it imports scikit-learn.

skops builds the tree of nodes for this and constructs none of them, so nothing of the file is executed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from services import PROJECT_ROOT, PYTHON

_WITHIN = 60.0  # seconds; it takes about two


def untrusted_types(path: Path) -> tuple[str, ...] | None:
    """The types, sorted; None where skops can't tell."""
    command = [*PYTHON, "-m", "services.intake.skops_types", str(path.absolute())]
    try:
        child = subprocess.run(command, cwd=PROJECT_ROOT, stdin=subprocess.DEVNULL, capture_output=True, timeout=_WITHIN, check=False)
        return tuple(map(str, json.loads(child.stdout))) if child.returncode == 0 else None
    except (subprocess.TimeoutExpired, ValueError):
        return None


def main() -> int:
    import skops.io  # type: ignore[import-untyped]

    types = skops.io.get_untrusted_types(file=sys.argv[1])
    print(json.dumps(types))
    return 0


if __name__ == "__main__":
    sys.exit(main())
