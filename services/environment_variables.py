"""Every environment variable that this program reads, sets or passes on: one table. docs/environment_variables.md is made from it.

`value()`, `value_if_set()`, `number()` and `take()` are the only readers. An entry script and its stand-ins read their own: they import
nothing of ours.
"""

from __future__ import annotations

import logging
import os
import re
from functools import cache
from typing import NamedTuple

logger = logging.getLogger(__name__)


class Variable(NamedTuple):
    """What a variable means. `default` and `read_by` are for people."""

    default: str
    meaning: str
    read_by: str


PROGRAM = {
    "BATCH_SCORING_HOME": Variable(
        "the platform's folder for a user's data", "The folder of everything that is kept on this machine.", "dashboard, command line"
    ),
    "BATCH_SCORING_LOG_LEVEL": Variable(
        "`INFO`",
        "The level of the program's log: `DEBUG`, `INFO`, `WARNING`, `ERROR` or `CRITICAL`.",
        "dashboard, command line, runner",
    ),
    "BATCH_SCORING_IMPORT_TIMEOUT": Variable("`300`", "Seconds that a local worker may take to import the scoring script.", "runner"),
    "BATCH_SCORING_RUNS_AT_ONCE": Variable("half the number of cores", "How many local runs go on at once; others are queued.", "runner"),
    "BATCH_SCORING_TOKEN": Variable(
        "a new one at each start",
        "The token of the dashboard's address: at least 16 letters, digits and `-` `.` `_` `~`. It is passed on to no other process.",
        "dashboard",
    ),
    "BATCH_SCORING_WORKER_MEMORY": Variable(
        "its share of four fifths of this machine's", "MB of memory that one local worker process may take.", "runner"
    ),
}

AZURE = {
    "AZURE_SUBSCRIPTION_ID": Variable("of config.json", "The subscription of the Azure ML workspace.", "command line; Connection page"),
    "AZURE_RESOURCE_GROUP": Variable("of config.json", "The resource group of the workspace.", "command line; Connection page"),
    "AZURE_WORKSPACE_NAME": Variable("of config.json", "The name of the workspace.", "command line; Connection page"),
    "AZURE_TENANT_ID": Variable("none", "The tenant to sign in to.", "command line; Connection page"),
    "AZURE_CLIENT_ID": Variable("none", "The service principal to sign in as.", "command line; Connection page"),
    "AZURE_CLIENT_SECRET": Variable(
        "of the system's keyring", "The service principal's secret. It is passed on to no other process.", "dashboard, command line"
    ),
    "AZUREML_CURRENT_CLOUD": Variable("`AzureCloud`", "Which Azure cloud to sign in to.", "whatever signs in"),
    "AZUREML_DEFAULT_BACKOFF": Variable("`4` in a command", "Seconds of the SDK's first wait where Azure answers 429.", "Azure ML SDK"),
    "AZUREML_DEFAULT_503_BACKOFF": Variable("`4` in a command", "The same where it answers 503.", "Azure ML SDK"),
    "https_proxy": Variable("`HTTPS_PROXY`", "The proxy to Azure.", "Azure ML SDK"),
    "HTTPS_PROXY": Variable("`https_proxy`", "The proxy to Azure.", "Azure ML SDK"),
    "no_proxy": Variable("`NO_PROXY`", "Hosts to reach without the proxy.", "Azure ML SDK"),
    "NO_PROXY": Variable("`no_proxy`", "Hosts to reach without the proxy.", "Azure ML SDK"),
    "SSL_CERT_FILE": Variable("`REQUESTS_CA_BUNDLE`", "Certificate authorities to trust.", "Azure ML SDK"),
    "REQUESTS_CA_BUNDLE": Variable("`SSL_CERT_FILE`", "Certificate authorities to trust.", "Azure ML SDK"),
}

ENTRY_SCRIPT = {
    "AZUREML_MODEL_DIR": Variable("unset without a model", "The folder of the run's first model.", "entry script"),
    "AZUREML_BI_OUTPUT_PATH": Variable("set by the runner", "The run's output folder, shared by all workers.", "entry script"),
    "BATCH_SCORING_LOGGING_LEVEL": Variable("the run's `logging_level`", "The level of `EntryScript().logger`.", "azureml_user"),
    "BATCH_SCORING_ENTRY_SCRIPT_LOG": Variable("set by the runner", "The file of `EntryScript().logger`.", "azureml_user"),
    "BATCH_SCORING_LOG_DIR": Variable("set by the runner", "`EntryScript().log_dir`.", "azureml_user"),
    "BATCH_SCORING_WORKING_DIR": Variable("set by the runner", "`EntryScript().working_dir`.", "azureml_user"),
    "BATCH_SCORING_RUN_FACTS": Variable(
        "set by the runner", "The file from which `Run.get_context()` and `Model.list` answer.", "azureml_user"
    ),
    "BATCH_SCORING_AGENT_NAME": Variable("set by the runner", "`EntryScript().agent_name`: `process000` and so on.", "azureml_user"),
    "CUDA_VISIBLE_DEVICES": Variable(
        "all GPUs that Linux shows", "Which GPUs runs may use. Each worker gets one of them, further workers none.", "runner, CUDA"
    ),
    "OMP_NUM_THREADS": Variable("the worker's share of the cores", "Threads of numeric libraries.", "OpenMP"),
    "OPENBLAS_NUM_THREADS": Variable("the worker's share of the cores", "Threads of numeric libraries.", "OpenBLAS"),
    "MKL_NUM_THREADS": Variable("the worker's share of the cores", "Threads of numeric libraries.", "MKL"),
    "KERAS_BACKEND": Variable("the first installed of tensorflow, jax, torch", "What Keras computes with.", "Keras, built-in scripts"),
    "ORT_DISABLE_TELEMETRY": Variable("1", "ONNX Runtime sends nothing to its maker; the built-in scripts set it too.", "ONNX Runtime"),
    "DO_NOT_TRACK": Variable("true", "MLflow and others send nothing to their makers; the built-in scripts set it too.", "MLflow"),
    "PYTHONPATH": Variable("none", "Not passed on: another interpreter must not find this one's modules.", "Python"),
}

INSTALLERS = {
    "PIP_INDEX_URL": Variable("PyPI", "The package index that environments are made from. Where uv makes them, uv gets it.", "pip, uv"),
    "PIP_EXTRA_INDEX_URL": Variable("none", "A further index.", "pip, uv"),
    "PIP_FIND_LINKS": Variable("none", "Folders with wheels.", "pip, uv"),
    "PIP_NO_INDEX": Variable("`0`", "`1`: take packages from those folders only.", "pip, uv"),
    "PIP_CERT": Variable("the system's", "Certificate authorities to trust.", "pip, uv"),
    "UV_TORCH_BACKEND": Variable("`cpu`", "Which builds of PyTorch uv takes.", "uv"),
}
"""Others of pip's and uv's own hold as well, except for what would install something else or elsewhere (services/local/installers.py)."""

DEVELOPMENT = {
    "AZURE_COMPUTE_TARGET": Variable("none", "The cluster of `make test-azure`.", "tests/azure_live.py"),
    "CHROMIUM": Variable("the first browser found", "The browser of the tests.", "tests/browser"),
    "BENCH_PYTHON": Variable("this interpreter", "The interpreter of the programs compared with.", "benchmarks"),
    "BENCH_ROUNDS": Variable("of each benchmark", "How often everything is measured.", "benchmarks"),
    "BENCH_ROWS": Variable("`10000000`", "How many predictions the benchmarks of results have.", "benchmarks"),
    "WALK_PICTURES": Variable("unset", "A folder for a picture of each step of a walk.", "tests/browser/walk.py"),
    "SOAK_PAUSE": Variable("set by `make soak`", "The mean duration of a mini-batch, in seconds.", "benchmarks/soak.py"),
}

TABLE = PROGRAM | AZURE | ENTRY_SCRIPT | INSTALLERS | DEVELOPMENT

_SECRET_PARTS = ("TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL", "APIKEY", "CONNECTION_STRING", "CONNECTIONSTRING")
_SECRET_WORDS = re.compile(
    r"(?:^|_)(?:PAT|SAS|JWT|PASS|CREDS?|PWD|(?:API|ACCESS|ACCOUNT|AUTH|ENCRYPTION|PRIVATE|SIGNING|STORAGE)_KEY)(?:$|_)"
)
"""Short ones count as words of their own: a PAT is a personal access token, PATH is none."""
_NO_SECRETS = ("PWD",)  # the working folder


def value(name: str) -> str:
    """What the variable is set to; "" where it is not set. KeyError for one that is not in the table."""
    TABLE[name]
    return os.environ.get(name, "")


def value_if_set(name: str) -> str | None:
    """What the variable is set to, also to nothing where that has a meaning of its own; None where it is not set."""
    TABLE[name]
    return os.environ.get(name)


def take(name: str) -> str:
    """The value; from now on this process doesn't have it, nor does any that it starts."""
    found = value(name)
    os.environ.pop(name, None)
    return found


def number(name: str) -> int | None:
    """The value as a whole number of at least 1; None where it is not set. Any other value is logged as a warning and counts as not set."""
    text = value(name)
    if text.isdecimal() and int(text) > 0:
        return int(text)
    if text:
        _warn_once(f"{name} is “{text}”, not a whole number of at least 1. Its default is used: {TABLE[name].default}.")
    return None


@cache
def _warn_once(sentence: str) -> None:
    logger.warning("%s", sentence)


def is_secret(name: str) -> bool:
    """Whether the name says that its value is a credential: it is not passed on to entry scripts, and never logged."""
    upper = name.upper()
    return upper not in _NO_SECRETS and (any(part in upper for part in _SECRET_PARTS) or _SECRET_WORDS.search(upper) is not None)
