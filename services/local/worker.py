"""One worker process: `init()` once, `run(mini_batch)` until it is stopped. Started by the runner with the run's own interpreter.

worker_main.py is what is executed, and calls `main`. Standard library only, and Python 3.8 or newer, since that interpreter is the user's;
rows of a tabular dataset are read with the pandas (and pyarrow, for Parquet) that is installed there. It talks to the runner over a socket,
so the script may do to stdin, stdout and stderr what it likes. Messages either way are a JSON header and two binary parts (see `send`).
"""

import array
import importlib.machinery
import importlib.util
import inspect
import itertools
import logging
import operator
import os
import socket
import struct
import sys
import threading
import traceback

# By their names: a script that puts others in their place, as those who freeze the clock do, changes nothing here.
from datetime import date
from decimal import Decimal
from json import dumps, loads
from math import isnan
from numbers import Real
from time import perf_counter, sleep, time

from frame_rows import rows_of
from script_output import ScriptOutput
from worker_inputs import FileInput, MiniBatchContext, TabularInput

FRAME = struct.Struct("<III")  # lengths of: JSON header, rows, row ends
TEXT_LIMIT = 20000  # characters of a traceback that are kept
STAND_INS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "entry_script")
CAUSES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "predictions", "causes.py")


class StandInFinder:
    """Finds azureml_user, and azureml.core where nothing else finds it, in `STAND_INS`. Last on `sys.meta_path`, it hides no real package;
    and it is asked too where another package has an `azureml/__init__.py` that knows only its own folder."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        parent, _, _ = name.rpartition(".")
        if name.partition(".")[0] not in ("azureml", "azureml_user"):
            return None
        return importlib.machinery.PathFinder.find_spec(name, [os.path.join(STAND_INS, *parent.split("."))], target)


class SdkFinder:
    """Finds the real azureml-core like any module; what asks a workspace there is then given the run's own answers, and nothing else is
    touched. First on `sys.meta_path`."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name not in ("azureml.core.model", "azureml.core.run"):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None or spec.origin.startswith(STAND_INS):
            return None
        execute = spec.loader.exec_module

        def execute_and_add(module):
            from azureml_user.local_run import ADDITIONS

            execute(module)
            ADDITIONS[name](module)

        spec.loader.exec_module = execute_and_add
        return spec


class Channel:
    """The socket to the runner. `receive` blocks; it returns None when the runner is gone."""

    def __init__(self, connection):
        self._connection = connection
        self._buffer = bytearray()

    def receive(self):
        while True:
            if len(self._buffer) >= FRAME.size:
                header, rows, ends = FRAME.unpack_from(self._buffer)
                size = FRAME.size + header + rows + ends
                if len(self._buffer) >= size:
                    message = loads(bytes(self._buffer[FRAME.size : FRAME.size + header]))
                    del self._buffer[:size]
                    return message
            chunk = self._connection.recv(65536)
            if not chunk:
                return None
            self._buffer += chunk

    def send(self, header, rows=b"", ends=b""):
        text = dumps(header).encode("ascii")
        self._connection.sendall(b"".join((FRAME.pack(len(text), len(rows), len(ends)), text, rows, ends)))


class Script:
    """The entry script, imported once; `run` checked, its result turned into rows."""

    def __init__(self, path):
        name = os.path.splitext(os.path.basename(path))[0]
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules.setdefault(name, module)  # never in place of a module that is there: a script may be called json.py
        spec.loader.exec_module(module)
        if not callable(getattr(module, "run", None)):
            raise AttributeError(f"the scoring script {os.path.basename(path)} has no function run(mini_batch)")
        self.module = module
        self._wants_context = _positional_parameters(module.run) >= 2

    def call(self, name):
        """Call `init` or `shutdown`, where the script has it."""
        function = getattr(self.module, name, None)
        if function is not None:
            function()

    def run(self, mini_batch, context):
        return self.module.run(mini_batch, context) if self._wants_context else self.module.run(mini_batch)


def _positional_parameters(function):
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


def _is_frame(result):
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(result, pandas.DataFrame)


def count_of(result):
    """How many rows run() returned. Raises TypeError for anything but a list, a tuple or a DataFrame."""
    if not isinstance(result, (list, tuple)) and not _is_frame(result):
        raise TypeError(f"run() must return a list, a tuple or a pandas DataFrame, not {type(result).__name__}")
    return len(result)


def as_rows(result):
    """What run() returned as (rows joined, where each row ends as uint64, their number, DataFrame columns or None).

    A list or tuple: `str(item)` and a newline. A DataFrame: `to_csv(sep=" ", header=None, index=None)`. Raises as `count_of`.
    """
    if _is_frame(result):
        rows = rows_of(result)
        columns = [[str(name), _kind_of(values)] for name, values in result.items()]
        if rows is None:
            rows = _rows_by_pandas(result)
        elif not isinstance(rows, list):
            return (*_joined(rows), len(rows), columns)
    else:
        count_of(result)
        rows = [str(item) for item in result]
        columns = None
    if not rows:
        return b"", b"", 0, columns
    joined = "\n".join(rows) + "\n"
    if joined.isascii():
        encoded, lengths = joined.encode("ascii"), map(len, rows)
    else:
        pieces = [_encoded(row) for row in rows]
        encoded, lengths = b"\n".join(pieces) + b"\n", map(len, pieces)
    ends = array.array("Q", itertools.accumulate(length + 1 for length in lengths))
    if sys.byteorder == "big":
        ends.byteswap()
    return encoded, ends.tobytes(), len(rows), columns


def _joined(rows):
    """The bytes of a pyarrow.Array of texts, which has them joined already, and where each ends."""
    numpy = sys.modules["numpy"]
    _, places, content = rows.buffers()
    ends = numpy.frombuffer(places, numpy.int32)[rows.offset + 1 : rows.offset + len(rows) + 1]
    begin = numpy.frombuffer(places, numpy.int32)[rows.offset]
    return memoryview(content)[begin : ends[-1]].tobytes(), (ends - begin).astype("<u8").tobytes()


def _kind_of(column):
    """What the values of a DataFrame's column are: `number`, `date`, `truth value`, `text`, or `empty` where it has none.

    By the values where the type doesn't say it, for an object or a category may be anything.
    """
    if hasattr(column.dtype, "categories"):
        column = column.dtype.categories
    kind = getattr(column.dtype, "kind", "O")
    if kind in _KINDS:
        return _KINDS[kind]
    if kind != "O" or str(column.dtype) in ("string", "str"):
        return "text"
    values = column.tolist()
    types = set(map(type, values))
    if float in types:
        types = {type(value) for value in values if not (type(value) is float and isnan(value))}
    types = {type_ for type_ in types if type_.__name__ not in ("NoneType", "NAType", "NaTType")}
    if not types:
        return "empty"
    if all(issubclass(type_, bool) or type_.__name__ in ("bool_", "bool") for type_ in types):
        return "truth value"
    if all(issubclass(type_, (Real, Decimal)) and not issubclass(type_, bool) for type_ in types):
        return "number"
    return "date" if all(issubclass(type_, date) for type_ in types) else "text"


_KINDS = dict.fromkeys("iuf", "number")
_KINDS.update(b="truth value", M="date")  # by NumPy's letters; extension types have these too


def _encoded(row):
    try:
        return row.encode("utf-8", "surrogateescape")  # a file name's undecodable bytes come out as they went in
    except UnicodeEncodeError:
        return row.encode("utf-8", "backslashreplace")


def _texts_of_index(index):
    """[name, values] of each level of a DataFrame's index that holds texts: they may say which file a row is of, and the output doesn't
    have them. Of one level of whole numbers too, where it is 0 to n - 1 in another order: the DataFrame was sorted. Nothing of the usual
    index, a range of numbers."""
    pandas = sys.modules["pandas"]
    if isinstance(index, pandas.RangeIndex) and index.step > 0:
        return []
    if index.nlevels == 1 and index.dtype.kind in "iu":
        places = index.tolist()
        is_sorted = index.is_monotonic_increasing or sorted(places) != list(range(len(places)))
        return [] if is_sorted else [["" if index.name is None else str(index.name), list(map(str, places))]]
    return [
        ["" if level.name is None else str(level.name), [str(value) if isinstance(value, (str, os.PathLike)) else "" for value in level]]
        for level in map(index.get_level_values, range(index.nlevels))
        if level.dtype.kind == "O"
    ]


def _places_of_index(index):
    """Of an index that says which rows of the mini-batch are there, as that of a DataFrame from which some were dropped: [[None, ranges of
    their places, as "first:end"]]. Nothing of another one, and of the range from 0 on, which a DataFrame has that was made again."""
    if index.nlevels > 1 or index.dtype.kind not in "iu" or index.name is not None or not len(index):
        return []
    if isinstance(index, sys.modules["pandas"].RangeIndex) and index.start == 0 and index.step == 1:
        return []
    places = index.tolist()
    if places[0] < 0 or any(map(operator.ge, places, places[1:])):
        return []
    ends = [0, *(number for number in range(1, len(places)) if places[number] != places[number - 1] + 1), len(places)]
    ranges = range(len(ends) - 1)
    return [[None, [f"{places[ends[number]]}:{places[ends[number + 1] - 1] + 1}" for number in ranges]]]


def _rows_by_pandas(frame):
    lines = frame.to_csv(sep=" ", header=False, index=False).replace(os.linesep, "\n").split("\n")[:-1]
    if len(lines) == len(frame):
        return lines
    rows, begun, quotes = [], [], 0
    for line in lines:  # a cell holds a newline: its quotes are not closed on this line
        begun.append(line)
        quotes += line.count('"')
        if quotes % 2 == 0:
            rows.append("\n".join(begun))
            begun = []
    return rows


class Worker:
    """One worker process, from its first message to its last."""

    def __init__(self, channel, config, output):
        self._channel = channel
        self._output = output
        self._causes = self._said = None
        self._datasets = config["datasets"]
        self._partition_keys = config["partition_keys"]
        self._script_path = config["entry_script"]
        self._append_row = config["append_row"]
        self._wants_header = config["dataframe_header"]
        self._inputs = []
        self._script = None

    def work(self):
        """Execute the runner's commands until `stop`, or until the runner is gone."""
        if not self._step("import", self._import) or not self._step("init", lambda: self._script.call("init")):
            return
        while True:
            command = self._channel.receive()
            if command is None:
                os._exit(1)
            if "stop" in command:
                self._step("shutdown", lambda: self._script.call("shutdown"))
                return
            for mini_batch in command["mini_batches"]:
                self._score(*mini_batch)

    def _import(self):
        for dataset in self._datasets:
            manifest = open(dataset["manifest"], "rb")  # noqa: SIM115 - kept for the worker's life
            self._inputs.append(TabularInput(dataset, manifest) if dataset["format"] else FileInput(dataset, manifest))
        self._script = Script(self._script_path)

    def _keys(self, source, entry):
        """What the items of a mini-batch have in common, by one of its entries."""
        if not self._partition_keys:
            return None
        values = source.keys_of(entry if isinstance(entry, str) else entry[0])
        return {key: values[key] for key in self._partition_keys}

    def _step(self, name, function):
        began = time()
        message = {"passed": name}
        try:
            function()
            message["at"] = time()
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a script is a failure like any other
            message = {"failed": name, "permanent": _is_permanent(error), **_described(error)}
        self._output.flush()
        self._output.forget()
        if self._output.printed:
            message.update({"printed": self._output.printed, "started_at": began, "elapsed": time() - began})
        self._channel.send(message)
        return "passed" in message

    def _score(self, index, dataset, offset, length):
        started_at, begin = time(), perf_counter()
        answer = {"mini_batch": index, "started_at": started_at}
        rows, ends, seconds = b"", b"", 0.0
        try:
            source = self._inputs[dataset]
            entries = source.entries(offset, length)
            mini_batch = source.mini_batch(entries)
            context = MiniBatchContext(index, source.root, self._keys(source, entries[0]))
            begin_run = perf_counter()
            try:
                result = self._script.run(mini_batch, context)
            finally:
                seconds = perf_counter() - begin_run
            answer["returned"] = count_of(result)
            missing = source.item_count(entries) - answer["returned"]
            has_said = missing > 0 or self._output.has_lines(seconds)
            if self._append_row or has_said:
                rows, ends, _, columns = as_rows(result)
                if columns is not None and self._append_row:
                    answer.update(self._facts_of_frame(result, columns, places=missing > 0 and _is_frame(mini_batch)))
            if has_said:
                answer.update(self._said_of(source, entries, rows, missing))
                if self._output.printed:
                    answer["printed"] = self._output.printed
            if not self._append_row:
                rows = ends = b""
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a script is a failure like any other
            answer.update(_described(error))
            self._output.flush()
            self._output.forget()
            if self._output.printed:
                answer["printed"] = self._output.printed
        answer["run_seconds"] = seconds
        answer["elapsed"] = perf_counter() - begin
        self._channel.send(answer, rows, ends)

    def _facts_of_frame(self, frame, columns, places):
        """What the runner gets of a DataFrame beside its rows; with `places`, which rows of the mini-batch it has."""
        facts = {"columns": columns}
        index = _texts_of_index(frame.index) or (places and _places_of_index(frame.index))
        if index:
            facts["index"] = index
        if self._wants_header:
            facts["header"] = frame.iloc[:0].to_csv(sep=" ", index=False).replace(os.linesep, "\n")
        return facts

    def _said_of(self, source, entries, rows, missing):
        """What the script said in this call of run(), as far as it may be the cause of an item without a row."""
        if self._causes is None:
            spec = importlib.util.spec_from_file_location("causes", CAUSES)
            self._causes = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(self._causes)
            self._said = self._causes.SaidLines()
        lines = self._output.lines(self._causes, missing=missing > 0)
        if not lines:
            return {}
        kept, templates, warned = self._said.report(lines, source.names(entries), rows.decode("utf-8", "surrogateescape"), missing)
        return {name: value for name, value in (("said", kept), ("said_of_succeeded", templates), ("warned", warned)) if value}


def _described(error):
    """An exception as it travels: its type, one line, and the traceback from the script's own frame on."""
    own = os.path.abspath(__file__)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if os.path.abspath(frame.filename) != own]
    frames = [frame for frame in frames if not frame.filename.startswith("<frozen importlib")]
    name = type(error).__name__
    try:
        message = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - the script's own exception class may be broken
        message = "(its message could not be made)"
    line = name + (": " + message if message else "")
    if isinstance(error, SystemExit):
        refusal = _refusal_of_argparse(error)
        if refusal:
            line = f"{name}: {refusal}"
            frames = [frame for frame in frames if frame.filename != sys.modules["argparse"].__file__]
    where = f" ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})" if frames else ""
    if isinstance(error, SyntaxError):
        where = f" ({os.path.basename(error.filename or '')}, line {error.lineno})"
        line = name + ": " + str(error.msg)
    head = "Traceback (most recent call last):\n" + "".join(traceback.format_list(frames)) if frames else ""
    text = head + line
    if len(text) > TEXT_LIMIT:
        text = text[: TEXT_LIMIT // 2] + "\n...\n" + text[-TEXT_LIMIT // 2 :]
    return {"error_type": name, "error": line[:2000] + where, "traceback": text}


def _refusal_of_argparse(error):
    """What argparse had to say before it exited, which is no part of its SystemExit; "" where another did."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__") == "argparse" and frame.f_code.co_name == "error":
            message = str(frame.f_locals.get("message", ""))
            if not message.startswith("unrecognized arguments: "):
                return message
            names = [word for word in message.split()[2:] if word.startswith("-")]
            advice = "use parse_known_args() in place of parse_args(), since the runtime passes arguments of its own"
            return f"unrecognized arguments {', '.join(names) or message[24:]}; {advice}"
    return ""


def _is_permanent(error):
    """Whether a step would fail in the same way in another process: what can't be imported or parsed, sys.exit(), an unreadable model."""
    unpickling_error = getattr(sys.modules.get("pickle"), "UnpicklingError", ImportError)
    if isinstance(error, (ImportError, SyntaxError, SystemExit, unpickling_error)):
        return True
    if isinstance(error, (OSError, MemoryError)):
        return False
    if str(error).startswith(("Ran out of input", "Can't get attribute")):  # of pickle where it is written in C, and has no frames
        return True
    readers = ("pickle", "joblib.numpy_pickle", "joblib.numpy_pickle_utils", "joblib.numpy_pickle_compat", "cloudpickle", "dill._dill")
    return any(frame.f_globals.get("__name__") in readers for frame, _ in traceback.walk_tb(error.__traceback__))


def _die_with_the_runner(runner_pid):
    """A worker must not outlive its runner, even inside a call of run() that never ends."""
    if sys.platform == "linux":
        import ctypes
        import signal

        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.name == "posix":
        if os.getppid() != runner_pid:
            os._exit(1)
        if sys.platform != "linux":

            def watch():
                while os.getppid() == runner_pid:
                    sleep(1)
                os._exit(1)

            threading.Thread(target=watch, daemon=True).start()


def _keep_memory():
    """What NumPy and pandas free, they take again for the next mini-batch: giving it back to the system in between, and having it cleared
    again, is a sixth of the time of reading and scoring. The allocator of glibc sets the same limits by itself once a script has freed
    a block of 32 MB."""
    if sys.platform == "linux":
        import ctypes

        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
        if mallopt is not None:
            mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD
            mallopt(-1, 64 << 20)  # M_TRIM_THRESHOLD


def _limit_memory(size):
    """A script that leaks gets a MemoryError of its own, before the machine has none left. Not on Windows."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash must not fill the disk with its memory
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    if size is not None:
        limit = size if hard == resource.RLIM_INFINITY else min(size, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _connection(argument):
    if os.name == "posix":
        return socket.socket(fileno=int(argument))
    return socket.fromshare(bytes.fromhex(sys.stdin.readline().strip()))


def prepare_for_the_script():
    """Let it import what is its own by any name, and the stand-ins. Also for processes that its multiprocessing spawns."""
    for module in ("worker", "frame_rows", "worker_inputs", "script_output"):
        del sys.modules[module]  # a script may have a neighbour of this name
    sys.meta_path.insert(0, SdkFinder)
    sys.meta_path.append(StandInFinder)
    if STAND_INS not in sys.path:
        sys.path.append(STAND_INS)  # processes that joblib starts get this, and no finder


def _end_pools():
    """In place of `threading._shutdown`, which waits for every thread: one that the script left running must not keep the run waiting.
    Pools of concurrent.futures are ended as Python ends them; before 3.9 they do that themselves."""
    for function in reversed(getattr(threading, "_threading_atexits", ())):
        function()


def _let_python_close_files(paths):
    """A thread that is left keeps the global variables of the script for ever, and so its files open. Python takes away those of a module
    that something refers to, the last in `sys.modules` first: the script's while what it imported is still whole."""
    if threading.active_count() > 1:
        roots = tuple(os.path.join(path, "") for path in paths)
        places = {name: str(getattr(module, "__file__", "")) for name, module in sys.modules.items()}
        names = [name for name, place in places.items() if place.startswith(roots) and "site-packages" not in place]
        for name in reversed(names):
            sys.modules[name] = sys.modules.pop(name)
        sys.modules_of_the_script = [sys.modules[name] for name in names]  # what is in `sys` stays until then


def main():
    connection, runner_pid = sys.argv[1], int(sys.argv[2])
    _die_with_the_runner(runner_pid)
    line = _connection(connection)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=line.close)  # a child that comes back from run() must not answer in its parent's name
    channel = Channel(line)
    config = channel.receive()
    if config is None:
        return
    _keep_memory()
    _limit_memory(config["memory_limit"])
    output = ScriptOutput(config["streams"])
    output.listen()
    logging.basicConfig(level=config["logging_level"], stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    sys.path[0:1] = config["paths"]  # the script's neighbours, in place of this file's folder
    prepare_for_the_script()
    sys.argv[:] = config["argv"]
    Worker(channel, config, output).work()
    line.detach()  # it stays open until this process is gone, which the runner takes for its end
    threading._shutdown = _end_pools
    _let_python_close_files(config["paths"])
