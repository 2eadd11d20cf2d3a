"""What the dashboard and the command line do, without either.

Start reading at `workspace.py` (what can it do?), then `domain.py` (what is a run?) and `settings.py` (what does a setting mean?).
"""

import sys
from pathlib import Path

__version__ = "0.2.0"

PROJECT_ROOT = Path(__file__).parents[1]
"""The folder that holds `services`, `pages` and `batch_scripts`: where child processes find them."""

PYTHON = [sys.executable]
"""What executes a module of this program in a process of its own: `[*PYTHON, "-m", MODULE, ...]`, in PROJECT_ROOT."""

INSTALLED = not (PROJECT_ROOT / "pyproject.toml").exists()
"""Whether this is the package, and not a clone."""

PROGRAM = "batch-scoring-studio" if INSTALLED else "python -m services"
"""How a person calls the command line."""
