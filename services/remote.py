"""What a workspace elsewhere has that this machine has not: signing in, lists that have an age, compute targets, datastores, training runs.

A page asks by name (`remote_of(workspace)`), never which workspace it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, cast

from services.domain import Environment, Model
from services.errors import StudioError
from services.workspace import Capability, Workspace


@dataclass(frozen=True)
class ComputeTarget:
    """A cluster or machine that runs can be sent to. `state` is the service's word; the node counts are None where it has no nodes."""

    name: str
    type: str
    state: str
    size: str = ""
    """Of one node: `STANDARD_D2_V2`."""
    nodes: int | None = None
    min_nodes: int | None = None
    max_nodes: int | None = None

    @property
    def usable(self) -> bool:
        """Whether a ParallelRunStep can be sent there: a cluster of Azure ML that is not failed or being deleted."""
        return self.max_nodes is not None and self.state not in ("Failed", "Deleting", "Canceled")

    def describe(self) -> str:
        nodes = "" if self.max_nodes is None else f", {self.nodes or 0} of up to {self.max_nodes} nodes there now"
        return f"{self.type}, {self.size}{nodes}, {self.state}" if self.size else f"{self.type}{nodes}, {self.state}"


@dataclass(frozen=True)
class Datastore:
    """Where the workspace keeps data. `location` is account and container, or what the service calls it."""

    name: str
    type: str
    location: str
    is_default: bool = False


@dataclass(frozen=True)
class TrainingRun:
    """A run of an experiment, whose outputs may hold a model."""

    id: str
    experiment: str
    name: str
    status: str
    started_at: datetime | None = None

    def __str__(self) -> str:
        return f"{self.name} · {self.status}" if self.name else f"{self.id} · {self.status}"


@dataclass(frozen=True)
class ConnectionState:
    """Where signing in is. `message` is what a person has to do now (a device code), `listed_at` the time of the oldest list."""

    is_open: bool
    opening: bool
    message: str = ""
    error: StudioError | None = None
    listed_at: datetime | None = None
    listing: bool = False
    lists: int = 0
    """Counted up with every list that came in; `changes` with those that differ from what was known."""
    changes: int = 0


class RemoteWorkspace(Workspace, Protocol):
    """The verbs of such a workspace, beside `Workspace`'s. Whatever asks the service raises WorkspaceUnavailable."""

    def state(self) -> ConnectionState:
        """How the connection is. At once."""

    def open(self) -> None:
        """Sign in and fetch the lists, in the background, unless that is done or going on."""

    def refresh(self) -> None:
        """Fetch the lists anew, in the background."""

    def compute_targets(self) -> list[ComputeTarget]:
        """Those a run can be sent to first."""

    def datastores(self) -> list[Datastore]:
        """The default one first."""

    def default_environment(self) -> Environment:
        """What a run that names no environment gets there. At once."""

    def delete_model(self, reference: str) -> None:
        """Remove one version of a model from the workspace."""

    def experiments(self) -> list[str]:
        """Names of the experiments, the one used last first."""

    def training_runs(self, experiment: str, limit: int = 50) -> list[TrainingRun]:
        """Runs of an experiment that are not pipelines, the newest first."""

    def training_run_files(self, experiment: str, run_id: str) -> list[str]:
        """Names of the files that a run has left: `outputs/model.pkl`."""

    def register_model_from_run(
        self, name: str, experiment: str, run_id: str, path: str, *, description: str = "", tags: Mapping[str, str] | None = None
    ) -> Model:
        """`Run.register_model`: a file or folder of the run's outputs becomes the next version of `name`."""

    @property
    def studio_link(self) -> str:
        """The workspace in Azure ML studio."""


def remote_of(workspace: Workspace) -> RemoteWorkspace | None:
    """The workspace with these verbs, where it has them."""
    return cast(RemoteWorkspace, workspace) if Capability.REMOTE in workspace.capabilities else None
