"""Rows of the fault matrix: ``@pytest.mark.rows(9, 10)`` says what a test covers, ``saw`` what it found."""

import signal
from pathlib import Path

import pytest

from chaos.table import Collector


def pytest_addoption(parser):
    parser.addoption("--fault-table", metavar="FILE", help="Rewrite the fault tables of this page.")


def pytest_configure(config):
    # Tests under nohup would hand on that SIGHUP is ignored.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    config.addinivalue_line("markers", "rows(*numbers): rows of the fault matrix that a test covers")
    page = config.getoption("--fault-table", None)
    if page and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Collector(Path(page).resolve()))


@pytest.fixture
def saw(request):
    """Note what a test saw, for all its rows or some; a leading number is added up over its cases."""
    return lambda text, *rows: request.node.user_properties.append(("saw", (text, rows)))
