"""What a run says of tests that passed only when they were tried again (``pytest --reruns=1``, as ``make test`` does).

Real daemons on two cores answer when they can, and one late answer in twelve thousand tests says little; but whatever
passes only then is a fault of the test or of what it tests: each is shown whole, and a run with more than a few fails.
Tests of values alone have no such excuse, and are never tried again.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

MOST = 3
PURE = Path(__file__).parent / "pure"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if PURE in item.path.parents:
            item.add_marker(pytest.mark.flaky(reruns=0))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if len(_tried_again(session.config)) > MOST:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    reports = _tried_again(config)
    for report in reports:
        terminalreporter.section(f"failed at first: {report.nodeid} ({report.when})")
        terminalreporter.line(report.longreprtext)
    if len(reports) > MOST:
        terminalreporter.line(f"{len(reports)} tests were tried again, and {MOST} may be: the run has failed", red=True)


def _tried_again(config: pytest.Config) -> list[pytest.TestReport]:
    reporter = cast("TerminalReporter | None", config.pluginmanager.get_plugin("terminalreporter"))
    return reporter.stats.get("rerun", []) if reporter else []
