"""The parts of SDK v1, put together."""

from __future__ import annotations

from collections.abc import Callable

from services.azure.run_history import History
from services.azure.sdk import Sdk
from services.azure.sdk_v1.computes import Computes
from services.azure.sdk_v1.datasets import Datasets
from services.azure.sdk_v1.environments import Environments
from services.azure.sdk_v1.jobs import Jobs
from services.azure.sdk_v1.models import Models
from services.azure.sdk_v1.pipelines import Pipelines
from services.azure.sdk_v1.session import Session
from services.connection import Connection


def sdk_v1(connection: Connection, notify: Callable[[str], None], *, of_a_command: bool) -> Sdk:
    session = Session(connection, notify, of_a_command=of_a_command)
    history = History(session)
    datasets, environments = Datasets(session), Environments(session)
    jobs, pipelines = Jobs(session, datasets, environments), Pipelines(session)
    return Sdk("SDK v1", "azureml-core", session, history, Models(session), datasets, environments, Computes(session), jobs, pipelines)
