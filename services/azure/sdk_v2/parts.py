"""The parts of SDK v2, put together."""

from __future__ import annotations

from collections.abc import Callable

from services.azure.run_history import History
from services.azure.sdk import Sdk
from services.azure.sdk_v2.computes import Computes
from services.azure.sdk_v2.datasets import Datasets
from services.azure.sdk_v2.environments import Environments
from services.azure.sdk_v2.jobs import Jobs
from services.azure.sdk_v2.models import Models
from services.azure.sdk_v2.pipelines import Pipelines
from services.azure.sdk_v2.session import Session
from services.connection import Connection


def sdk_v2(connection: Connection, notify: Callable[[str], None], *, of_a_command: bool) -> Sdk:
    session = Session(connection, notify, of_a_command=of_a_command)
    datasets, history = Datasets(session), History(session)
    jobs = Jobs(session, datasets, history)
    others = Computes(session), jobs, Pipelines(session, jobs, history)
    return Sdk("SDK v2", "azure-ai-ml", session, history, Models(session), datasets, Environments(session), *others)
