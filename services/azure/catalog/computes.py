"""Compute targets, with their state, size and node counts, and datastores."""

from __future__ import annotations

from services.azure.auth.session import Session
from services.domain import ComputeTarget, Datastore


def compute_targets(session: Session) -> list[ComputeTarget]:
    """Those that can run a ParallelRunStep first, then by name; by `Workspace.compute_targets`. Raises as `Session.sdk_calls`."""
    with session.sdk_calls("The compute targets can't be listed", "compute_target") as workspace:
        targets = []
        for target in workspace.compute_targets.values():
            scale, status = getattr(target, "scale_settings", None), getattr(target, "status", None)
            allocation = getattr(status, "allocation_state", "") or ""
            state = target.provisioning_state or "Unknown"
            targets.append(
                ComputeTarget(
                    name=target.name,
                    type=target.type or type(target).__name__,
                    state=f"{state}, {allocation.lower()}" if allocation and state == "Succeeded" else state,
                    size=(getattr(target, "vm_size", None) or "").upper(),
                    nodes=getattr(status, "current_node_count", None),
                    min_nodes=getattr(scale, "minimum_node_count", None),
                    max_nodes=getattr(scale, "maximum_node_count", None),
                )
            )
    return sorted(targets, key=lambda target: (not target.usable, target.name))


def datastores(session: Session) -> list[Datastore]:
    """The default one first, then by name; by `Workspace.datastores`. Raises as `Session.sdk_calls`."""
    with session.sdk_calls("The datastores can't be listed") as workspace:
        default, stores = workspace.get_default_datastore().name, []
        for store in workspace.datastores.values():
            account, lake, container = (getattr(store, name, None) for name in ("account_name", "store_name", "container_name"))
            location = " / ".join(filter(None, (account or lake, container)))
            stores.append(Datastore(store.name, store.datastore_type, location, store.name == default))
    return sorted(stores, key=lambda store: (not store.is_default, store.name))
