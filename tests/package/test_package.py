"""The installed package: its command, the dashboard, the sample scored; and that it leaves other programs their names."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import TYPE_CHECKING

import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect

from services import __version__

if TYPE_CHECKING:
    from tests.package.conftest import Installed


@pytest.fixture
def address(installed: Installed) -> Iterator[tuple[int, str]]:
    """The port and the token of the installed dashboard."""
    with installed.start("--port", 0, stderr=subprocess.STDOUT) as dashboard:
        assert dashboard.stdout
        lines = []
        for line in dashboard.stdout:
            lines.append(line)
            if at := re.search(r"at http://127\.0\.0\.1:(\d+)/\?token=(\S+) ", line):
                yield int(at[1]), at[2]
                break
        else:
            pytest.fail("".join(lines))
        dashboard.kill()


def session(port: int, headers: dict[str, str]) -> list[ForwardMsg]:
    """What the server sends to a browser that opens the first page, up to the end of its run."""
    received = []
    url = f"ws://127.0.0.1:{port}/_stcore/stream"
    with connect(url, subprotocols=["streamlit"], additional_headers=headers, max_size=None) as socket:  # type: ignore[list-item]
        socket.send(BackMsg(rerun_script=ClientState()).SerializeToString())
        while not received or received[-1].WhichOneof("type") != "script_finished":
            message = socket.recv(timeout=120)
            assert isinstance(message, bytes)
            received.append(ForwardMsg.FromString(message))
    return received


def test_the_installed_command_says_its_version(installed: Installed):
    assert installed.call("--version") == (0, f"batch-scoring-studio {__version__}\n", "")


def test_the_installed_command_names_itself_in_help_and_errors(installed: Installed):
    code, out, _ = installed.call("--help")
    assert (code, out.count("usage: batch-scoring-studio ")) == (0, 2)
    code, out, err = installed.call("rnu")
    assert (code, out) == (2, "")
    assert "See batch-scoring-studio --help" in err


def test_another_program_does_not_find_our_modules(installed: Installed):
    names = ("services", "pages", "batch_scripts", "app", "launcher")
    code = f"import importlib.util; assert not [name for name in {names} if importlib.util.find_spec(name)]"
    subprocess.run([installed.python, "-c", code], cwd=installed.folder, env=installed.environment, check=True)


def test_the_installed_command_scores_the_sample_from_any_folder(installed: Installed):
    sample = installed.json("--home", "a home", "sample")
    request = ("--model", sample["model"], "--dataset", sample["dataset"], "--entry-script", "batch_scoring_script")
    run = installed.json("--home", "a home", "run", *request, "--mini-batch-size", 100, "--process-count-per-node", 1, "--wait")
    assert (run["status"], run["items_succeeded"]) == ("Completed", 899)
    assert (installed.folder / "a home").is_dir()
    # A query is a child process of the predictions, a table one of the intake.
    installed.json("--home", "a home", "predictions", run["id"], "--to", "sevens.csv", "--where", "Prediction = '7'")
    header, *rows = (installed.folder / "sevens.csv").read_text(encoding="utf-8").splitlines()
    assert (header, {row.partition(",")[2] for row in rows}) == ("File,Prediction", {"7"})
    registered = installed.json("--home", "a home", "dataset", "register", "table", ".", "--glob", "sevens.csv", "--type", "tabular")
    assert registered["row_count"] == len(rows)


def test_the_installed_dashboard_opens_with_its_theme(address: tuple[int, str]):
    port, token = address
    headers = {"Authorization": f"Bearer {token}"}
    connection = HTTPConnection("127.0.0.1", port, timeout=120)
    for path, content in (("/_stcore/health", b"ok"), ("/", b"<title>")):
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        assert response.status == 200
        assert content in response.read()
    connection.close()

    messages = session(port, headers)
    assert (
        next(message.new_session for message in messages if message.HasField("new_session")).custom_theme.light.primary_color == "#0f6e78"
    )
    assert [message for message in messages if message.delta.new_element.HasField("exception")] == []
    assert "Try it with a sample" in [message.delta.new_element.button.label for message in messages]
