# SPDX-License-Identifier: GPL-3.0-or-later
"""Who keeps the clock right."""

from __future__ import annotations

from kubestead.model import timekeeping
from kubestead.model.timekeeping import Unit

SHOW = """\
Id=chrony.service
LoadState=not-found
ActiveState=inactive
UnitFileState=

Id=ntpsec.service
LoadState=masked
ActiveState=inactive
UnitFileState=masked

Id=systemd-timesyncd.service
LoadState=loaded
ActiveState=inactive
UnitFileState=disabled
"""


def test_the_one_that_is_there() -> None:
    units = timekeeping.parse_units(SHOW)
    assert len(units) == 3
    assert timekeeping.choose(units) == "systemd-timesyncd.service"


def test_the_one_that_runs_comes_first() -> None:
    units = {
        "chrony.service": Unit("loaded", "inactive", "enabled"),
        "systemd-timesyncd.service": Unit("loaded", "active", "enabled"),
    }
    assert timekeeping.choose(units) == "systemd-timesyncd.service"


def test_then_the_one_that_is_started_at_boot() -> None:
    units = {
        "chrony.service": Unit("loaded", "inactive", "disabled"),
        "ntp.service": Unit("loaded", "failed", "enabled"),
    }
    assert timekeeping.choose(units) == "ntp.service"


def test_none() -> None:
    assert timekeeping.choose({}) == ""
