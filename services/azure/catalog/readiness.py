"""What a run will find on Azure ML before its first row: the cluster's state, nodes and errors, and whether its environment is built."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from services.azure.auth.sdk_errors import is_not_found
from services.azure.auth.session import Session
from services.domain import ComputeTarget, parse_reference
from services.formats import counted

NOT_ASKED = "the quota of cores: the SDK has no call for it. A cluster that lacks it stays at its nodes and says so in its errors."
_BUILD = "Azure ML builds it before the first run, which takes some ten to twenty minutes"


def cluster_facts(session: Session, target: ComputeTarget, node_count: int) -> Iterator[str]:
    """Sentences on a cluster as it is now, the first on its nodes. Raises as `Session.sdk_calls`."""
    with session.sdk_calls(f"The compute target {target.name} can't be read", "compute_target") as workspace:
        cluster = workspace.compute_targets.get(target.name)
        status: Any = cluster.get_status() if hasattr(cluster, "get_status") else None
    nodes, most = getattr(status, "current_node_count", None) or 0, target.max_nodes or node_count
    counts = getattr(status, "node_state_counts", None)
    idle = getattr(counts, "idle_node_count", 0) or 0
    busy = (getattr(counts, "running_node_count", 0) or 0) + (getattr(counts, "preparing_node_count", 0) or 0)
    state = getattr(status, "provisioning_state", None) or target.state
    yield (
        f"{target.name} ({target.size or target.type}) is {state}: {counted(nodes, 'node')} of at most {most:,} started, {idle:,} idle,"
        f" {busy:,} at work."
    )
    wanted = min(node_count, most)
    if idle < wanted:
        yield f"{counted(wanted - idle, 'node')} must be started first, or get free: usually some minutes."
    if (getattr(status, "vm_priority", "") or "").lower().startswith("low"):
        yield "Its nodes are of low priority: Azure may take them away while the run goes on, and their mini-batches are scored again."
    for error in getattr(status, "errors", None) or ():
        values = error.get("error", error) if isinstance(error, dict) else {}
        text = ": ".join(str(values[name]) for name in ("code", "message") if values.get(name)) or str(error)
        yield f"The cluster reports an error, {text.rstrip('.')}."


def environment_fact(session: Session, reference: str | None, made_for_run: str) -> str:
    """Whether the image of an environment is there, in a sentence; `made_for_run` names that of a run without one. Raises as
    `Session.sdk_calls`."""
    name, version = parse_reference(reference, "environment") if reference else (made_for_run, None)
    with session.sdk_calls(f"Environment {name} can't be read", "environment") as workspace:
        from azureml.core import Environment

        try:
            known = Environment.get(workspace, name, version=str(version) if version else None)
            details = known.get_image_details(workspace)
        except Exception as error:  # the SDK raises a plain one
            if is_not_found(error) or "404" in str(error):
                return f"The environment {name} was never built: {_BUILD}."
            raise
    if details.image_exist:
        return f"The environment {name} is built: its image is in the registry."
    return f"The environment {name} has to be built: {_BUILD}."
