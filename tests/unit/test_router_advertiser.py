# SPDX-License-Identifier: GPL-3.0-or-later
"""When the PXE server says that there is no IPv6 router."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).parents[2] / "roles" / "pxe_server" / "files" / "router_advertiser.py"


@pytest.fixture(scope="module")
def program() -> ModuleType:
    """The program that the role installs."""
    spec = importlib.util.spec_from_file_location("router_advertiser", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_gives_no_address_and_no_route(program: ModuleType) -> None:
    packet = program.NO_ROUTER
    assert len(packet) == 16  # no options: no prefix, no name server
    assert packet[0] == 134
    assert packet[5] == 0  # neither managed nor other configuration
    assert packet[6:8] == b"\0\0"  # router lifetime


def test_who_asks_is_answered_once_after_real_routers_had_their_time(program: ModuleType) -> None:
    decision = program.Decision()
    assert decision.wait(0.0) is None
    decision.heard(133, 255, 10.0)
    decision.heard(133, 255, 10.4)
    assert decision.wait(10.4) == pytest.approx(0.2)
    assert decision.wait(10.6) == 0
    decision.answered()
    assert decision.wait(11.0) is None


def test_a_real_router_silences_it_until_it_is_gone(program: ModuleType) -> None:
    decision = program.Decision()
    decision.heard(133, 255, 10.0)
    decision.heard(134, 255, 10.3)
    assert decision.wait(10.6) is None
    decision.heard(133, 255, 1000.0)
    assert decision.wait(1000.0) is None
    decision.heard(133, 255, 1811.0)
    assert decision.wait(1811.0) is not None


def test_packets_from_elsewhere_do_not_count(program: ModuleType) -> None:
    decision = program.Decision()
    decision.heard(134, 64, 9.0)
    decision.heard(133, 64, 10.0)
    assert decision.wait(10.0) is None
    decision.heard(133, 255, 10.0)
    assert decision.wait(10.0) is not None
