# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the addresses that machines report Ansible may be sent to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from kubestead.model.registry import Registry
from kubestead.model.registry_source import lacking_address, usable_address
from tests.unit.registry_samples import VALUES


@pytest.mark.parametrize(
    ("said", "used"),
    [
        ("10.0.0.21", "10.0.0.21"),
        ("FD77::0:21", "fd77::21"),
        ("127.0.0.1", None),
        ("::1", None),
        ("::", None),
        ("0.0.0.0:22", None),
        ("224.0.0.1", None),
        ("fe80::1", None),
        ("fe80::1%eth0", None),
        ("10.0.0.21/24", None),
        ("-oProxyCommand=id", None),
        ("10.0.0.21 -oProxyCommand=id", None),
        ("{{ lookup('pipe', 'id') }}", None),
        ("", None),
        (None, None),
        (7, None),
    ],
)
def test_addresses(said: Any, used: str | None) -> None:
    assert usable_address(said) == used


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(VALUES)
def test_whatever_is_said_is_an_address_or_nothing(said: Any) -> None:
    found = usable_address(said)
    assert found is None or usable_address(found) == found


def test_machines_without_an_address() -> None:
    entry = {"role": "worker", "architecture": "amd64"}
    registry = Registry(
        {
            "525400770011": {**entry, "hostname": "a", "ip": "10.0.0.1"},
            "525400770021": {**entry, "hostname": "b"},
            "525400770031": {**entry, "hostname": "c", "ip": None},
        }
    )
    assert lacking_address(registry) == ["52:54:00:77:00:21", "52:54:00:77:00:31"]
