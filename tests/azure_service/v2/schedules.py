"""Schedules: a job's whole definition, and when it is started. They don't fire by the clock here, but when they are told to."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tests.azure_service.routes import Refusal, Reply, Request, not_found, now, paged, route
from tests.azure_service.v2.arm import resource
from tests.azure_service.v2.versioned import check_name

if TYPE_CHECKING:
    from tests.azure_service.cloud import CloudWorkspace

_FREQUENCIES = ("Minute", "Hour", "Day", "Week", "Month")
_VIEWS = {"EnabledOnly": (True,), "DisabledOnly": (False,), "All": (True, False)}


class Schedules:
    """Of one workspace."""

    def __init__(self, workspace: CloudWorkspace) -> None:
        self._workspace = workspace
        self._lock = threading.Lock()
        self._known: dict[str, dict[str, Any]] = {}
        self._fired = 0

    def has(self, name: str) -> bool:
        return name in self._known

    def fire(self, name: str) -> str:
        """Let its time come: returns the name of the job. Raises Refusal where it is disabled."""
        known = self._schedule(name)["properties"]
        if not known["isEnabled"]:
            raise Refusal(400, "UserError", f"The schedule {name} is disabled.")
        with self._lock:
            self._fired += 1
            job = f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%S}Z-{self._fired}"
        definition = known["action"]["jobDefinition"]
        if source := definition.get("sourceJobId"):
            definition = self._workspace.v2_jobs.posted(source.rpartition("/")[2]) | {k: v for k, v in definition.items() if v}
        self._workspace.v2_jobs.submit(job, definition, schedule=name)
        return job

    def _schedule(self, name: str) -> dict[str, Any]:
        if name not in self._known:
            raise not_found("Schedule", name)
        return self._known[name]

    def _described(self, name: str) -> dict[str, Any]:
        known = self._schedule(name)
        return resource(self._workspace, f"schedules/{name}", known["properties"], known["created"])

    @route("PUT", "{ws}/schedules/{name}", host="management")
    def put(self, request: Request, name: str) -> Reply:
        check_name(name)
        properties = request.json["properties"]
        if properties["action"].get("actionType") != "CreateJob":
            raise Refusal(400, "UserError", "The stand-in supports schedules that create jobs only.")
        trigger = _trigger(properties["trigger"])
        new = name not in self._known
        added = {"isEnabled": properties.get("isEnabled") is not False, "provisioningState": "Succeeded", "trigger": trigger}
        self._known[name] = {"properties": properties | added, "created": now() if new else self._known[name]["created"]}
        return Reply(self._described(name), 201 if new else 200)

    @route("GET", "{ws}/schedules", host="management")
    def list(self, request: Request) -> dict[str, Any]:
        view = request.asked("listViewType", "EnabledOnly")
        if view not in _VIEWS:
            raise Refusal(400, "UserError", f"The list view type {view} is invalid.")
        names = [name for name, known in self._known.items() if known["properties"]["isEnabled"] in _VIEWS[view]]
        return paged(map(self._described, names), request, self._workspace.page_size, "$skip", "nextLink")

    @route("GET", "{ws}/schedules/{name}", host="management")
    def get(self, request: Request, name: str) -> dict[str, Any]:
        return self._described(name)

    @route("DELETE", "{ws}/schedules/{name}", host="management")
    def delete(self, request: Request, name: str) -> Reply:
        if name not in self._known:
            return Reply(b"", 204)
        if self._known[name]["properties"]["isEnabled"]:
            raise Refusal(400, "UserError", f"The schedule {name} must be disabled before it is deleted.")
        del self._known[name]
        return Reply(b"", 200)

    @route("POST", "{ws}/schedules/{name}/trigger", host="management")
    def trigger(self, request: Request, name: str) -> dict[str, Any]:
        return {"submissionId": self.fire(name), "scheduleActionType": "CreateJob"}


def _trigger(said: dict[str, Any]) -> dict[str, Any]:
    """As the service answers it: words of enums begin with a capital. Raises Refusal for one that never comes."""
    kind, frequency = said.get("triggerType"), str(said.get("frequency") or "").capitalize()
    if kind == "Cron" and len(str(said.get("expression") or "").split()) == 5:
        return said
    if kind != "Recurrence" or frequency not in _FREQUENCIES or not said.get("interval"):
        raise Refusal(400, "UserError", f"The trigger is invalid: {said}")
    schedule = dict(said.get("schedule") or {})
    if days := schedule.get("weekDays"):
        schedule["weekDays"] = [day.capitalize() for day in days]
    return said | {"frequency": frequency} | ({"schedule": schedule} if schedule else {})
