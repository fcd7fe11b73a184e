# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures that tests measure: told once more at the end, where they are found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

_MARK = "» "


def tell(text: str) -> None:
    """Print a figure."""
    print(f"{_MARK}{text}", flush=True)


def told(reports: Iterable[pytest.TestReport]) -> Iterator[str]:
    """The figures that were printed in these tests, each once."""
    lines = (line for report in reports for line in report.capstdout.splitlines())
    return iter(dict.fromkeys(line.removeprefix(_MARK) for line in lines if line.startswith(_MARK)))
