# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong while machines are installed: each ends in a state that says so, none in a loop.

Machines are powered on again as a person would who has read what they said.
"""

from __future__ import annotations

import os

import pytest

from lab.host import problems
from tests.e2e.install_lab import SAYS_DISK, InstallLab

pytestmark = pytest.mark.skipif(bool(os.geteuid() or problems()), reason="python -m lab check says why")


def attempts(lab: InstallLab, name: str) -> tuple[str, int]:
    """How a machine is, and in which attempt."""
    view = lab.view(name)
    return view["state"], view["install"]["attempts"]


def test_a_disk_that_is_not_empty_is_refused_and_after_three_attempts_it_boots(
    install_lab: InstallLab,
) -> None:
    install_lab.act("stone", "install")
    with install_lab.unchanged("stone"):
        install_lab.switch_on("stone")
        view = install_lab.wait_state("stone", "failed")
        assert "is not empty" in view["error"]
        assert "kubestead machines reinstall stone" in view["error"]
        install_lab.wait_off("stone")
        for attempt in (2, 3):  # cut off before they can say it again
            install_lab.switch_on("stone")
            install_lab.wait_serial("stone", f"attempt {attempt}:")
        install_lab.switch_on("stone")
        install_lab.wait_serial("stone", "3 attempts to install it have failed")
        install_lab.wait_serial("stone", SAYS_DISK)
    view = install_lab.view("stone")
    assert view["state"] == "failed"
    assert "3 attempts to install it have failed; the last said" in view["error"]
    install_lab.act("stone", "install")
    assert attempts(install_lab, "stone") == ("install_pending", 0)
    install_lab.act("stone", "approve")


def test_a_disk_too_small_is_named_and_trouble_of_the_server_is_sat_out(install_lab: InstallLab) -> None:
    """A larger disk is put in; then there is no HTTP for a while, no API, and no power."""
    install_lab.act("small", "install")
    install_lab.switch_on("small")
    view = install_lab.wait_state("small", "failed")
    assert "has 64 MiB, at least" in view["error"]
    install_lab.wait_off("small")
    os.truncate(install_lab["small"].disk, 4 << 30)

    install_lab.switch_on("small")
    install_lab.wait_phase("small", "write")
    install_lab.on_server("systemctl stop pxe-http")
    install_lab.wait_serial("small", "kubestead: http://10.77.0.10/boot/images/")  # cannot be had
    install_lab.on_server("systemctl start pxe-http")
    install_lab.on_server(
        "systemctl kill --signal=KILL machine-state-api && systemctl stop machine-state-api"
    )
    install_lab.wait_serial("small", "kubestead: http://10.77.0.10/boot/report:")  # is not taken
    install_lab.on_server("systemctl start machine-state-api")
    install_lab.wait_view("small", lambda view: view["phase"] == "write" and view["progress"] >= 25)
    install_lab["small"].cut()
    assert attempts(install_lab, "small") == ("installing", 2)

    install_lab.switch_on("small")
    install_lab.wait_serial("small", "attempt 3:")
    install_lab["small"].cut()
