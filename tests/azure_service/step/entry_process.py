"""`python -P entry_process.py STEP NODE PROCESS FD`: one process of a step, that calls the entry script: `init()`, then `run()` for each
order on its standard input. It answers on the file descriptor FD, a line of JSON each. What the script prints goes to its own files.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import pickle
import sys
import time
from pathlib import Path
from traceback import format_exception
from typing import Any, NamedTuple


class Context(NamedTuple):
    """The second parameter of `run(mini_batch, mini_batch_context)`."""

    minibatch_index: int
    dataset: str
    partition_key_value: dict[str, Any] | None


def load(script: Path) -> Any:
    spec = importlib.util.spec_from_file_location("entry_module", script)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["entry_module"] = module
    spec.loader.exec_module(module)
    return module


def prepare(step: dict[str, Any], node: str, process: str) -> None:
    """What a script finds: its arguments, its folder, its variables."""
    source = Path(step["source"])
    sys.argv = [step["script"], *step["arguments"]]
    sys.path[:0] = [str((source / step["script"]).parent), str(source)]
    sys.path.append(str(Path(__file__).parent))
    import azureml_user.parallel_run

    azureml_user.parallel_run.log_file = Path(step["logs"]) / f"logs/user/entry_script_log/{node}/{process}.log.txt"


def score(module: Any, order: dict[str, Any]) -> dict[str, Any]:
    """One call of `run()`: how many rows it returned, and these as they go into the output."""
    mini_batch: Any = order["items"]
    if order["table"]:
        mini_batch = pickle.loads(Path(order["table"]).read_bytes())
    context = (Context(order["index"], order["dataset"], order["keys"]),)
    takes = len(inspect.signature(module.run).parameters)
    started = time.monotonic()
    result = module.run(mini_batch, *context[: takes - 1])
    seconds = time.monotonic() - started
    header = ""
    if hasattr(result, "to_csv") and hasattr(result, "columns"):
        text = result.to_csv(sep=" ", header=False, index=False)
        header = result.iloc[:0].to_csv(sep=" ", index=False)
        rows, count = text.removesuffix("\n").split("\n") if len(result) else [], len(result)
    elif isinstance(result, list | tuple):
        rows, count = [str(row) for row in result], len(result)
    else:
        raise TypeError(f"The run() function in the entry script should return a list or a DataFrame, not {type(result).__name__}.")
    return {"rows": rows, "count": count, "header": header, "run_seconds": seconds}


def failure(error: BaseException) -> dict[str, Any]:
    trace = "".join(format_exception(error))
    return {"error": str(error), "category": type(error).__name__, "trace": trace}


def main() -> None:
    step = json.loads(Path(sys.argv[1]).read_text())
    node, process, answers = sys.argv[2], sys.argv[3], os.fdopen(int(sys.argv[4]), "w", encoding="utf-8")
    orders = os.fdopen(os.dup(0), encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    prepare(step, node, process)
    module: Any = None
    for line in orders:
        started, cpu = time.monotonic(), time.process_time()
        try:
            if module is None:
                module = load(Path(step["source"]) / step["script"])
                getattr(module, "init", lambda: None)()
                answer: dict[str, Any] = {}
            else:
                answer = score(module, json.loads(line))
        except BaseException as error:  # noqa: BLE001 - the edge: it is the entry script's, and goes into the logs
            answer = failure(error)
            print(answer["trace"], file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        answer |= {"seconds": time.monotonic() - started, "cpu": time.process_time() - cpu}
        print(json.dumps(answer), file=answers, flush=True)
        if module is None:
            return
    getattr(module, "shutdown", lambda: None)()


if __name__ == "__main__":
    main()
