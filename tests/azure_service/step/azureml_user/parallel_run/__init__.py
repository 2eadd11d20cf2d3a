"""`EntryScript`, as Microsoft's page *how-to-debug-parallel-run-step* describes it."""

from __future__ import annotations

import logging
import os
from pathlib import Path

log_file = Path()
"""Where the logger writes, set by the process."""


class EntryScript:
    """A helper for entry scripts: a logger with a file of its own, and where the output goes."""

    @property
    def output_dir(self) -> str:
        return os.environ["AZUREML_BI_OUTPUT_PATH"]

    @property
    def working_dir(self) -> str:
        return os.getcwd()

    @property
    def logger(self) -> logging.Logger:
        """Writes to `logs/user/entry_script_log/<node>/<process>.log.txt`."""
        logger = logging.getLogger("EntryScript")
        if not logger.handlers:
            log_file.parent.mkdir(parents=True, exist_ok=True)
            handler = logging.FileHandler(log_file, encoding="utf-8")
            handler.setFormatter(logging.Formatter("%(asctime)s|%(levelname)s|%(process)d|%(message)s"))
            logger.addHandler(handler)
            logger.setLevel(logging.DEBUG)
            logger.propagate = False
        return logger
