# SPDX-License-Identifier: GPL-3.0-or-later
"""What all tests say at their end."""

from __future__ import annotations

import os
import signal

import pytest

from tests import figures

# Not in a person's shell: what is to be seen at once has to be written at once.
os.environ.pop("PYTHONUNBUFFERED", None)
# A shell lets what it begins in the background ignore Ctrl-C. The programs that tests start, and tell to end
# by it, are not to inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell the figures that were measured."""
    reports = [report for some in terminalreporter.stats.values() for report in some]
    lines = list(figures.told(report for report in reports if isinstance(report, pytest.TestReport)))
    if lines:
        terminalreporter.section("figures")
        terminalreporter.write_line("\n".join(lines))
