# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd says of many units, read from what it prints."""

from __future__ import annotations

from collections.abc import Sequence

from kubestead.model.units import Unit, show

SAID = """\
LoadState=loaded
ActiveState=active
UnitFileState=enabled
StateChangeTimestamp=@1795398369

LoadState=not-found
ActiveState=inactive
UnitFileState=
StateChangeTimestamp=

LoadState=loaded
ActiveState=inactive
UnitFileState=generated
StateChangeTimestamp=n/a

LoadState=masked
ActiveState=failed
UnitFileState=masked
"""
NOTHING = Unit(known=False, running=False, enabled="", since=0)


def test_units_are_told_in_the_order_that_they_were_asked_for() -> None:
    asked: list[Sequence[str]] = []

    def run(argv: Sequence[str], stdin: str | None = None, timeout: float = 30) -> tuple[int, str, str]:
        asked.append(argv)
        return 0, SAID, ""

    names = ["nginx.service", "none.service", "isc-dhcp-server.service", "masked.service"]
    assert show(run, names) == {
        "nginx.service": Unit(known=True, running=True, enabled="enabled", since=1795398369),
        "none.service": NOTHING,
        "isc-dhcp-server.service": Unit(known=True, running=False, enabled="generated", since=0),
        "masked.service": Unit(known=True, running=False, enabled="masked", since=0),
    }
    assert [list(argv[-5:]) for argv in asked] == [["--", *names]]


def test_without_an_answer_there_are_none() -> None:
    def run(argv: Sequence[str], stdin: str | None = None, timeout: float = 30) -> tuple[int, str, str]:
        return 127, "", "systemctl: not found"

    assert show(run, ["nginx.service"]) == {"nginx.service": NOTHING}
    assert show(run, []) == {}
