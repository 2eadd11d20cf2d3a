"""How long the year takes: twenty seconds, ten minutes with `--whole-year`."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Known where this folder is named: `pytest tests/year --whole-year`."""
    parser.addoption("--whole-year", action="store_true", help="work for ten minutes")


@pytest.fixture
def year_seconds(request: pytest.FixtureRequest) -> float:
    return 600.0 if request.config.getoption("--whole-year", False) else 12.0
