# SPDX-License-Identifier: GPL-3.0-or-later
"""MAC addresses in the notations that people and tools write."""

from __future__ import annotations

import pytest

from kubestead.model.mac import is_group_address, is_mac, normalise_mac


@pytest.mark.parametrize(
    "text",
    [
        "52:54:00:77:00:1a",
        "52:54:00:77:00:1A",
        "52-54-00-77-00-1A",
        "5254.0077.001a",
        "52540077001A",
        "01-52-54-00-77-00-1a",
        " 52:54:00:77:00:1a\n",
    ],
)
def test_notations_have_one_normal_form(text: str) -> None:
    assert normalise_mac(text) == "52:54:00:77:00:1a"
    assert is_mac(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "52:54:00:77:00",
        "52:54:00:77:00:11:22",
        "52:54:00:77:00:1g",
        "52:54-00:77:00:11",
        "52:54:00:77:00:",
        "52:54:00:77:00:1",
        "525400770011aa",
        "52:54:00:77:00:\u0661\u0661",
        "02-52-54-00-77-00-11",
    ],
)
def test_what_is_no_mac_is_refused_with_the_expectation(text: str) -> None:
    assert not is_mac(text)
    with pytest.raises(ValueError, match="six pairs of hexadecimal digits"):
        normalise_mac(text)


def test_group_addresses() -> None:
    assert is_group_address("01:00:5e:00:00:01")
    assert is_group_address("ff:ff:ff:ff:ff:ff")
    assert not is_group_address("52:54:00:77:00:11")
