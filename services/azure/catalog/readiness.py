"""What a run will find on Azure ML before its first row: the cluster's state, nodes, quota and errors, and whether its environment is
built."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from services.azure.auth.sdk_errors import is_not_found
from services.azure.sdk_v1.session import Session
from services.domain import parse_reference
from services.errors import StudioError
from services.formats import counted
from services.remote import ComputeTarget

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
    low_priority = (getattr(status, "vm_priority", "") or "").lower().startswith("low")
    try:
        yield from _quota_facts(session, target.size, max(0, wanted - nodes), low_priority=low_priority)
    except StudioError as unreadable:  # it is the subscription’s, which not everyone may read
        yield f"The quota of cores is unknown: {unreadable.message.rstrip('.')}."
    if low_priority:
        yield "Its nodes are of low priority: Azure may take them away while the run goes on, and their mini-batches are scored again."
    for error in getattr(status, "errors", None) or ():
        values = error.get("error", error) if isinstance(error, dict) else {}
        text = ": ".join(str(values[name]) for name in ("code", "message") if values.get(name)) or str(error)
        yield f"The cluster reports an error, {text.rstrip('.')}."


def _quota_facts(session: Session, size: str, more: int, *, low_priority: bool) -> Iterator[str]:
    """Sentences on the quotas of cores that `more` nodes of this size are started from: that of the region, and of dedicated nodes that of
    their family too."""
    with session.sdk_calls("It can't be read", "compute_target") as workspace:
        from azureml.core.compute import AmlCompute

        cores = next((int(one["vCPUs"]) for one in AmlCompute.supported_vmsizes(workspace) if one["name"].lower() == size.lower()), None)
        usages: list[dict[str, Any]] = AmlCompute.list_usages(workspace)
    family, kind = _family(size), "lowpriority" if low_priority else "dedicated"
    found = False
    for usage in usages:
        name = str(usage.get("name", {}).get("value", ""))
        folded = re.sub(r"[^a-z0-9]", "", name.lower())
        used, limit = usage.get("currentValue"), usage.get("limit")
        of_the_cluster = folded.startswith(("totalcluster", f"standard{family}familycluster")) and kind in folded
        if not of_the_cluster or not isinstance(used, int) or not isinstance(limit, int) or limit < 0:
            continue
        found = True
        wanted = f"; {counted(more, 'more node')} would take {more * cores:,}" if cores and more else ""
        lacks = ", more than is left: ask for more quota, or use fewer nodes" if cores and more * cores > limit - used else ""
        yield f"Quota {name}: {used:,} of {limit:,} in use{wanted}{lacks}."
    if not found:
        yield "The quota of cores is unknown: Azure ML lists none for this cluster."


def _family(size: str) -> str:
    """How quotas call the family of a size, folded: `dsv2` of STANDARD_DS3_V2, `ncadsa100v4` of Standard_NC24ads_A100_v4."""
    match = re.fullmatch(r"standard_([a-z]+)[\d-]+(.*)", size.lower())
    return re.sub(r"[^a-z0-9]", "", match[1] + match[2]) if match else ""


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
