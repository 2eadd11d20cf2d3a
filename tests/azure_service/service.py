"""The stand-in from the side of who starts it: a test, or a person by hand."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.azure_service.faults import Seen, matches
from tests.azure_service.identity import CLIENT, GROUP, SECRET, SUBSCRIPTION, TENANT

PROJECT = Path(__file__).parents[2]


@dataclass
class AzureService:
    """`with AzureService(folder) as service:` starts it in a process of its own, on loopback, keeping everything in `folder`.

    The SDK reaches it with the variables of `environment()`, set before the process that uses the SDK starts, or at least before it
    imports azureml. A workspace called `workspace` is there from the start, with a sample in it where `sample` is set.
    """

    folder: Path
    sample: bool = False
    workspace: str = "ws-batch"
    runner_python: list[str] = field(default_factory=lambda: [sys.executable])
    """What tests execute runners by."""

    def __enter__(self) -> AzureService:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        command = [sys.executable, "-m", "tests.azure_service.server", str(self.folder)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "encoding": "utf-8"}
        self._process = subprocess.Popen(command, cwd=PROJECT, start_new_session=True, **pipes)  # Ctrl-C is for who started it
        assert self._process.stdout
        if not (first := self._process.stdout.readline()):
            raise RuntimeError(f"The stand-in did not start: exit code {self._process.wait()}")
        self._where: dict[str, str] = json.loads(first)
        self.add_workspace(self.workspace, sample=self.sample)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """End it, and whatever it still executes."""
        try:
            self._process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def environment(self, workspace: str = "") -> dict[str, str]:
        """The variables that lead the SDK here: proxy, certificate authority, a private home, which workspace, and who signs in."""
        home = self.folder / "home"  # the SDK keeps caches there, of one service only
        home.mkdir(exist_ok=True)
        proxy, trusted, direct = self._where["proxy"], self._where["authority"], "127.0.0.1,localhost"
        return {
            "HTTPS_PROXY": proxy,
            "https_proxy": proxy,  # the only one that rslex reads
            "NO_PROXY": direct,
            "no_proxy": direct,
            "REQUESTS_CA_BUNDLE": trusted,
            "SSL_CERT_FILE": trusted,  # for rslex
            "HOME": str(home),
            "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION,
            "AZURE_RESOURCE_GROUP": GROUP,
            "AZURE_WORKSPACE_NAME": workspace or self.workspace,
            "AZURE_TENANT_ID": TENANT,
            "AZURE_CLIENT_ID": CLIENT,
            "AZURE_CLIENT_SECRET": SECRET,
        }

    # ---- verbs ----------------------------------------------------------------------------------------------------------------

    def add_workspace(self, name: str, *, sample: bool = False) -> None:
        """One more workspace, empty but for its datastores, compute targets and curated environment; or with the sample."""
        self._ask("add_workspace", name=name, sample=sample)

    def fault(self, pattern: str, **values: Any) -> None:
        """Let the next calls that match go wrong: see faults.Fault for what may be said. Patterns are of the line that `requests`
        shows, such as `GET *modelmanagement*/models*`."""
        self._ask("add_fault", pattern=pattern, **values)

    def clear(self) -> None:
        """Forget faults, requests and unknown routes."""
        self._ask("clear")

    @property
    def requests(self) -> list[Seen]:
        """All calls since the start or `clear()`, in the order they were answered."""
        return [Seen(**values) for values in self._ask("requests")]

    def count(self, pattern: str) -> int:
        """How many calls matched."""
        return sum(matches(seen.line, pattern) for seen in self.requests)

    @property
    def unknown_routes(self) -> list[str]:
        """What was asked that the stand-in doesn't support, or failed at itself. A test that used it should find this empty at its end."""
        return [str(line) for line in self._ask("unknown_routes")]

    def expire_tokens(self) -> None:
        """From now on no token given so far is taken."""
        self._ask("expire_tokens")

    def set_token_seconds(self, seconds: float) -> None:
        """How long a token lasts that is given from now on; an hour at first."""
        self._ask("set_token_seconds", seconds=seconds)

    def confirm_device_code(self, code: str) -> None:
        """Do what a person does who enters the code of a device code sign-in."""
        self._ask("confirm_device_code", code=code)

    def set_compute(
        self, name: str, workspace: str = "", *, vm_size: str = "STANDARD_DS3_V2", max_nodes: int = 4, state: str = "Succeeded"
    ) -> None:
        """Add a compute target, or change one. `state` is its provisioning state."""
        self._ask("set_compute", workspace=workspace or self.workspace, name=name, vm_size=vm_size, max_nodes=max_nodes, state=state)

    def remove_compute(self, name: str, workspace: str = "") -> None:
        self._ask("remove_compute", workspace=workspace or self.workspace, name=name)

    def set_page_size(self, size: int, workspace: str = "") -> None:
        """How many things a page of a list holds; 50 at first."""
        self._ask("set_page_size", workspace=workspace or self.workspace, size=size)

    def set_queue_seconds(self, seconds: float, workspace: str = "") -> None:
        """How long a step is Queued before it runs, one that is Queued now as well; 0 at first."""
        self._ask("set_queue_seconds", workspace=workspace or self.workspace, seconds=seconds)

    def set_run_status(self, run: str, status: str, workspace: str = "", *, ended: bool = False) -> None:
        """Let a pipeline run say this word, whatever its steps do; with `ended`, say that it has, and cancel what it executes."""
        self._ask("set_run_status", workspace=workspace or self.workspace, run=run, status=status, ended=ended)

    def set_storage_credentials(self, kind: str, workspace: str = "") -> None:
        """What datastores give to SDK v2: `Sas`, as at first, `AccountKey`, or `None`: the caller's own identity is used then."""
        self._ask("set_storage_credentials", workspace=workspace or self.workspace, kind=kind)

    def replay(self, recording: Path, workspace: str = "") -> None:
        """Steps from now on are not carried out: they leave what is in this folder, see recordings.py."""
        self._ask("replay", workspace=workspace or self.workspace, recording=str(recording))

    def fire_schedule(self, schedule: str, workspace: str = "") -> str:
        """Let the time of a schedule come, by its id or, in SDK v2, its name; returns the id of the run. Schedules don't fire by the
        clock here."""
        return str(self._ask("fire_schedule", workspace=workspace or self.workspace, schedule=schedule))

    def _ask(self, verb: str, **values: Any) -> Any:
        with self._lock:
            assert self._process.stdin
            assert self._process.stdout
            self._process.stdin.write(json.dumps({"verb": verb} | values) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"The stand-in ended with exit code {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"The stand-in could not {verb}: {answer['error']}")
        return answer["answer"]
