"""`python -m tests.azure_service.server FOLDER`: the stand-in as a process of its own, controlled by lines of JSON on its standard
input: `{"verb": ..., arguments}`, each answered by a line. It ends when its input does, so it never outlives who started it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import uvicorn

from tests.azure_service.application import Application, CuttableProtocol
from tests.azure_service.certificates import make_certificates
from tests.azure_service.cloud import Cloud
from tests.azure_service.connect_proxy import ConnectProxy
from tests.azure_service.faults import Fault, Watch


class Server:
    """The verbs, each a method."""

    def __init__(self, folder: Path) -> None:
        self.watch = Watch()
        self.cloud = Cloud(folder, self.watch.does_not_know)
        self._folder = folder

    async def start(self) -> dict[str, Any]:
        """Where it is: the proxy's address and the authority's certificate."""
        trusted, own = make_certificates(self._folder)
        settings = uvicorn.Config(
            Application(self.cloud, self.watch), host="127.0.0.1", port=0, http=CuttableProtocol, ws="none", lifespan="off",
            log_level="warning", access_log=False, ssl_keyfile=str(own), ssl_certfile=str(own), timeout_keep_alive=60,
        )  # fmt: skip
        self._uvicorn = uvicorn.Server(settings)
        settings.load()
        self._uvicorn.lifespan = settings.lifespan_class(settings)
        await self._uvicorn.startup()
        self._turning = asyncio.create_task(self._uvicorn.main_loop())
        address = self._uvicorn.servers[0].sockets[0].getsockname()
        port = await ConnectProxy(address, lambda host: self.watch.does_not_know(f"CONNECT {host}")).start()
        return {"proxy": f"http://127.0.0.1:{port}", "authority": str(trusted)}

    def add_workspace(self, name: str, sample: bool = False) -> None:
        workspace = self.cloud.workspace(name)
        if sample:
            from tests.azure_service.sample import put_sample

            put_sample(workspace, self._folder)

    def add_fault(self, **values: Any) -> None:
        self.watch.add(Fault(**values))

    def clear(self) -> None:
        self.watch.clear()

    def requests(self) -> list[dict[str, Any]]:
        return [asdict(seen) for seen in self.watch.taken("seen")]

    def unknown_routes(self) -> list[str]:
        return self.watch.taken("unknown")

    def expire_tokens(self) -> None:
        self.cloud.identity.expire_tokens()

    def set_token_seconds(self, seconds: float) -> None:
        self.cloud.identity.lasts = seconds

    def confirm_device_code(self, code: str) -> None:
        self.cloud.identity.confirm_device_code(code)

    def set_compute(self, workspace: str, name: str, vm_size: str, max_nodes: int, state: str) -> None:
        self.cloud.workspaces[workspace].computes.add(name, vm_size, max_nodes, state)

    def remove_compute(self, workspace: str, name: str) -> None:
        self.cloud.workspaces[workspace].computes.remove(name)

    def set_page_size(self, workspace: str, size: int) -> None:
        self.cloud.workspaces[workspace].page_size = size

    def set_queue_seconds(self, workspace: str, seconds: float) -> None:
        self.cloud.workspaces[workspace].queue_seconds = seconds

    def set_run_status(self, workspace: str, run: str, status: str, ended: bool) -> None:
        of = self.cloud.workspaces[workspace]
        (of.v2_jobs if of.v2_jobs.has(run) else of.pipelines).say_status(run, status, ended=ended)

    def set_storage_credentials(self, workspace: str, kind: str) -> None:
        self.cloud.workspaces[workspace].v2_datastores.credentials = kind

    def replay(self, workspace: str, recording: str) -> None:
        self.cloud.workspaces[workspace].recording = Path(recording)

    def fire_schedule(self, workspace: str, schedule: str) -> str:
        of = self.cloud.workspaces[workspace]
        return (of.v2_schedules if of.v2_schedules.has(schedule) else of.published).fire(schedule)

    def stop(self) -> None:
        self.cloud.stop()


async def _serve(folder: Path, orders: TextIO, answers: TextIO) -> None:
    server = Server(folder)
    print(json.dumps(await server.start()), file=answers, flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, orders.readline):
        order = json.loads(line)
        try:
            answer = {"answer": await loop.run_in_executor(None, lambda: getattr(server, order.pop("verb"))(**order))}  # noqa: B023
        except Exception as error:  # noqa: BLE001 - the edge: the caller gets the error
            answer = {"error": repr(error)}
        print(json.dumps(answer), file=answers, flush=True)
    server.stop()


def main() -> None:
    orders, answers = sys.stdin, sys.stdout
    sys.stdout = sys.stderr  # nothing but answers goes there
    asyncio.run(_serve(Path(sys.argv[1]), orders, answers))
    os._exit(0)  # whatever threads are still answering a closed connection


if __name__ == "__main__":
    main()
