"""The dashboard without a browser, in the workspace of the fixture `home`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

SHELL = Path(__file__).parents[2] / "pages" / "shell.py"


@pytest.fixture
def open_page(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., AppTest]:
    """`open_page("runs.py", run="...")` opens a page with query parameters, as a link to it would."""
    monkeypatch.setenv("BATCH_SCORING_HOME", str(home))

    def open_it(page: str = "home.py", /, **query: str) -> AppTest:
        app = AppTest.from_file(SHELL, default_timeout=20).run()
        for name, value in query.items():
            app.query_params[name] = value
        return app if page == "home.py" and not query else app.switch_page(page).run()

    return open_it
