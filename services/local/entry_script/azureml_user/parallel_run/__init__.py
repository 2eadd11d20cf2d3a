"""`from azureml_user.parallel_run import EntryScript`, as Azure documents it (how-to-debug-parallel-run-step, "log from an entry script").

Standard library only and Python 3.8 or newer: it runs in the run's own interpreter.
"""

import logging
import os


class EntryScript:
    """A singleton: the logger, folders and name of this worker process."""

    _instance = _logger = None

    def __new__(cls):
        if cls._instance is None:
            cls._instance = super().__new__(cls)
        return cls._instance

    @property
    def logger(self):
        """Writes to logs/user/entry_script_log/<node>/<process>.log.txt of the run."""
        if self._logger is None:
            logger = logging.getLogger("EntryScript")
            path = os.environ["BATCH_SCORING_ENTRY_SCRIPT_LOG"]
            os.makedirs(os.path.dirname(path), exist_ok=True)
            writer = logging.FileHandler(path, encoding="utf-8")
            writer.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
            logger.addHandler(writer)
            logger.setLevel(os.environ.get("BATCH_SCORING_LOGGING_LEVEL", "INFO"))
            logger.propagate = False
            self._logger = logger
        return self._logger

    @property
    def log_dir(self):
        """The folder of this worker's user logs; made when asked for."""
        return _made(os.environ["BATCH_SCORING_LOG_DIR"])

    @property
    def output_dir(self):
        """The run's output folder, shared by all workers; made when asked for."""
        return _made(os.environ["AZUREML_BI_OUTPUT_PATH"])

    @property
    def working_dir(self):
        """This worker's private folder."""
        return os.environ["BATCH_SCORING_WORKING_DIR"]

    @property
    def agent_name(self):
        """`process000`, `process001`..."""
        return os.environ["BATCH_SCORING_AGENT_NAME"]


def _made(folder):
    os.makedirs(folder, exist_ok=True)
    return folder
