"""A step of a pipeline job in the words of v2, and the process that carries it out: the same as v1's."""

from __future__ import annotations

import json
import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.azure_service.parallel_run import SETTINGS, StepProcess
from tests.azure_service.routes import Refusal
from tests.azure_service.v2.inputs import read

if TYPE_CHECKING:
    from tests.azure_service.cloud import CloudWorkspace

_NAMES = {
    "mini_batch_size": "mini_batch_size",
    "error_threshold": "error_threshold",
    "mini_batch_error_threshold": "allowed_failed_count",
    "logging_level": "logging_level",
    "max_concurrency_per_instance": "process_count_per_node",
    "partition_keys": "partition_keys",
}
_BINDING = re.compile(r"\$\{\{\s*(inputs|outputs)\.([\w-]+)\s*\}\}")


class ParallelWords:
    """A node as it was submitted: what it says itself, else its component. `inputs` are the bound ones, as a job says inputs."""

    def __init__(self, node: dict[str, Any], spec: dict[str, Any], inputs: dict[str, dict[str, Any]]) -> None:
        self._said = spec | {key: value for key, value in node.items() if value is not None}
        self.spec, self.inputs = spec, inputs
        self.task: dict[str, Any] = (spec.get("task") or {}) | (node.get("task") or {})
        if self._said["type"] != "parallel":
            raise Refusal(400, "UserError", f"The stand-in executes steps of the type parallel only, not {self._said['type']}.")

    @property
    def node_count(self) -> int:
        return int((self._said.get("resources") or {}).get("instance_count") or 1)

    @property
    def environment_variables(self) -> dict[str, Any]:
        return self._said.get("environment_variables") or {}

    @property
    def main_input(self) -> str:
        return self._bound(self._said.get("input_data"), "inputs")

    @property
    def row_output(self) -> str:
        """Where rows are appended; empty for summary_only."""
        return self._bound(self.task.get("append_row_to"), "outputs") if self.task.get("append_row_to") else ""

    @property
    def own_output(self) -> str:
        """The output that the runtime has as its own, whose folder is AZUREML_BI_OUTPUT_PATH: that of the rows, else the one of the
        argument `--output`. A guess: no page says what a v2 job has without rows."""
        words = self._words()
        named = next((value for name, value in pairwise(words) if name == "--output"), None)
        return self.row_output or (self._bound(named, "outputs") if named else "")

    @property
    def outputs(self) -> list[str]:
        return list(self.spec.get("outputs") or {})

    @property
    def settings(self) -> dict[str, str]:
        """In the words of the driver: v1's."""
        settings = {name: str(self._said[key]) for key, name in _NAMES.items() if self._said.get(key) not in (None, "")}
        tries = self._said.get("retry_settings") or {}
        if tries.get("timeout") is not None:
            settings["run_invocation_timeout"] = str(tries["timeout"])
        if tries.get("max_retries") is not None:
            settings["run_max_try"] = str(int(tries["max_retries"]) + 1)
        settings["output_action"] = "append_row" if self.row_output else "summary_only"
        words = self._words()
        for position, word in enumerate(words[:-1]):
            if word.startswith("--") and word[2:] in SETTINGS:
                settings[word[2:]] = words[position + 1]
        return settings

    def _words(self) -> list[str]:
        return shlex.split(self.task.get("program_arguments") or "")

    def arguments(self, places: dict[str, str], outputs: dict[str, str]) -> list[str]:
        """The script's command line: the user's arguments with what is bound in them, then the runtime's own."""
        known = {"inputs": places, "outputs": outputs}

        def filled(match: re.Match[str]) -> str:
            if match[2] not in known[match[1]]:
                raise Refusal(400, "UserError", f"The program arguments name {match[0]}, which the step does not have.")
            return known[match[1]][match[2]]

        own = [word for name, text in self.settings.items() for word in (f"--{name}", text)]
        return [_BINDING.sub(filled, word) for word in self._words()] + own

    def _bound(self, text: str | None, kind: str) -> str:
        match = _BINDING.fullmatch(text or "")
        if not match or match[1] != kind:
            raise Refusal(400, "UserError", f"{text!r} is no binding of one of the {kind}.")
        return match[2]


class ParallelStep(StepProcess):
    """Raises Refusal where it can't be carried out."""

    def __init__(self, workspace: CloudWorkspace, words: ParallelWords, folder: Path) -> None:
        super().__init__(workspace, folder)
        for path, content in workspace.v2_codes.files(words.task["code"].removeprefix("azureml:")).items():
            target = folder / "source" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        self._write_models()
        mounted = {
            name: self._mounted(name, read(workspace, given)) for name, given in words.inputs.items() if given["jobInputType"] != "literal"
        }
        places = {name: self._place(words.inputs[name], mount) for name, mount in mounted.items()}
        places |= {name: str(given["value"]) for name, given in words.inputs.items() if name not in mounted}
        if words.main_input not in mounted:
            raise Refusal(400, "UserError", f"The step has no data at its input {words.main_input}.")
        self._folders = {name: self._output if name == words.own_output else folder / "outputs" / name for name in words.outputs}
        for made in self._folders.values():
            made.mkdir(parents=True, exist_ok=True)
        arguments = words.arguments(places, {name: str(path) for name, path in self._folders.items()})
        header = re.search(r"--append_row_dataframe_header[ =]true\b", " ".join(arguments), re.IGNORECASE)
        self._start({
            "source": str(folder / "source"),
            "script": words.task["entry_script"],
            "arguments": arguments,
            "settings": words.settings,
            "node_count": words.node_count,
            "datasets": [mounted[words.main_input]],
            "environment": self._environment(words.environment_variables),
            "dataframe_header": header is not None,
            "output": str(self._output),
        })  # fmt: skip

    @staticmethod
    def _place(given: dict[str, Any], mount: dict[str, Any]) -> str:
        """What a script gets for an input: the folder, or the file where it is one."""
        root = Path(mount["root"])
        first = Path(mount["files"][0])
        if given["jobInputType"] == "uri_file":
            return str(root / first)
        if given["jobInputType"].endswith("_model"):
            return str(root / first.parts[0])
        return str(root)

    def outputs(self) -> dict[str, dict[str, bytes]]:
        """The files of each output, by its name."""
        return {
            name: {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
            for name, folder in self._folders.items()
        }


def key_of(node: dict[str, Any], spec: dict[str, Any], inputs: dict[str, Any]) -> str:
    """The same for steps that would do the same."""
    return json.dumps([node, spec, inputs], sort_keys=True)
