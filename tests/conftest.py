# SPDX-License-Identifier: GPL-3.0-or-later
"""What all tests say at their end."""

from __future__ import annotations

import pytest

from tests import figures


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell the figures that were measured."""
    reports = [report for some in terminalreporter.stats.values() for report in some]
    lines = list(figures.told(report for report in reports if isinstance(report, pytest.TestReport)))
    if lines:
        terminalreporter.section("figures")
        terminalreporter.write_line("\n".join(lines))
