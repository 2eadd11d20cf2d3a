"""The page that takes a browser to the dashboard, the token's codes, and whose connection it is."""

import logging
import os
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from services import environment_variables, log
from services.access import Access, is_of_another_user, users_are_told_apart, write_redirect
from services.errors import SettingsError, WorkspaceUnavailable
from services.local.workspace import LocalWorkspace

on_posix = pytest.mark.skipif(os.name != "posix", reason="permissions of files are POSIX's")


def test_a_code_is_good_once_and_the_token_always():
    access = Access()
    first, second = access.code(), access.code()
    assert [access.is_code(shown) for shown in (first, first, second, access.token)] == [True, False, True, False]
    assert [access.is_token(shown) for shown in (second, access.token, access.token)] == [False, True, True]


@pytest.mark.parametrize("token", ["short", "with a space in it", "sixteen/or/more?x"])
def test_a_token_that_could_be_guessed_or_cannot_stand_in_an_address_is_refused(token: str):
    with pytest.raises(SettingsError, match="BATCH_SCORING_TOKEN can't be a token") as refused:
        Access(token)
    assert token not in str(refused.value)


def test_a_cookie_is_good_for_its_name_and_its_dashboard_only():
    token = "chosen-by-a-person-0123"
    access, another = Access(token), Access(token)
    value = access.cookie("studio-8501")
    assert access.is_cookie("studio-8501", value)
    assert not access.is_cookie("studio-8502", value)
    assert not another.is_cookie("studio-8501", value)
    assert not access.is_cookie("studio-8501", "é\ud800".encode("utf-8", "replace").decode())


def test_the_token_is_taken_out_of_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BATCH_SCORING_TOKEN", "chosen-by-a-person-0123")
    assert Access.from_environment().token == "chosen-by-a-person-0123"
    assert environment_variables.value("BATCH_SCORING_TOKEN") == ""


@on_posix
def test_no_other_user_can_read_the_page_for_the_browser(tmp_path: Path):
    (tmp_path / "browser").mkdir(mode=0o755)
    for url in ("http://127.0.0.1:1/?token=first", "http://127.0.0.1:1/?token=a&b"):
        page = write_redirect(tmp_path, 1, url)
    assert page.name == "dashboard-1.html"
    assert 'content="0;url=http://127.0.0.1:1/?token=a&amp;b"' in page.read_text()
    assert [stat.S_IMODE(path.stat().st_mode) for path in (page, page.parent)] == [0o600, 0o700]
    assert list(page.parent.iterdir()) == [page]


@on_posix
@pytest.mark.parametrize("mode", [0o777, 0o757])
def test_no_page_is_written_where_others_could_put_theirs(tmp_path: Path, mode: int):
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(mode)
    with pytest.raises(WorkspaceUnavailable, match="Another user can change what is in"):
        write_redirect(home, 1, "http://127.0.0.1:1/")
    assert list(home.glob("*/*")) == []
    home.chmod(0o1777)  # as /tmp is: what is ours there, no one else can move
    assert write_redirect(home, 1, "http://127.0.0.1:1/").exists()


@on_posix
def test_no_page_is_written_through_a_link_or_a_file(tmp_path: Path):
    for number, make in enumerate((lambda path: path.symlink_to(tmp_path), lambda path: path.write_text("a file"))):
        home = tmp_path / str(number)
        home.mkdir()
        make(home / "browser")
        with pytest.raises(WorkspaceUnavailable):
            write_redirect(home, 1, "http://127.0.0.1:1/")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("theirs", ["home", "home/browser"])
def test_no_page_is_written_in_another_users_folder(tmp_path: Path, theirs: str):
    (tmp_path / "home" / "browser").mkdir(parents=True)
    os.chown(tmp_path / theirs, 65534, 65534)
    with pytest.raises(WorkspaceUnavailable, match="Another user can change what is in"):
        write_redirect(tmp_path / "home", 1, "http://127.0.0.1:1/")


def log_a_line(home: Path) -> None:
    log.to_dashboard_file(home)
    logging.getLogger("services").info("a line")


@on_posix
@pytest.mark.parametrize("make", [log_a_line, LocalWorkspace])
def test_a_new_home_is_its_users_only_and_an_older_one_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], object]
):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    new, old = tmp_path / "new" / "home", tmp_path / "old"
    old.mkdir(mode=0o750)
    for home in (new, old):
        make(home)
        assert list(home.iterdir())
    assert [stat.S_IMODE(path.stat().st_mode) for path in (new, old)] == [0o700, 0o750]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux is asked whose a connection is")
def test_a_connection_of_ones_own_is_told_from_a_closed_one():
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()) as client:
        server, address = listening.accept()
        assert users_are_told_apart()
        assert not is_of_another_user(address, listening.getsockname())
        client.close()
        assert is_of_another_user(address, listening.getsockname())
        server.close()
    assert not is_of_another_user(("192.0.2.1", 5), ("192.0.2.2", 6))  # nobody's here
    assert not is_of_another_user(("::1", 5), ("::1", 6))
