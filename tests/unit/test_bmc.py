# SPDX-License-Identifier: GPL-3.0-or-later
"""Management controllers as the registry has them: secrets by reference only, and never told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kubestead.model.bmc import BmcError, Credentials, credentials, port_of, redfish_host

HIDDEN = "s3cret:with a colon"


def variable(name: str) -> Any:
    """The variables that there are."""
    return {"login": {"username": "root", "password": HIDDEN}, "word": HIDDEN}.get(name)


def test_each_form_of_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BMC_LOGIN", f"root:{HIDDEN}")
    path = tmp_path / "bmc.json"
    path.write_text('{"username": "root", "password": "s3cret:with a colon"}\n')
    for entry in (
        {"credentials": "env:BMC_LOGIN"},
        {"credentials": f"file:{path}"},
        {"credentials": "var:login"},
        {"credentials": "var:word", "username": "root"},
    ):
        assert credentials(entry, variable) == ("root", HIDDEN)


def test_a_password_is_not_shown() -> None:
    assert HIDDEN not in f"{Credentials('root', HIDDEN)!r} {Credentials('root', HIDDEN)}"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({}, "bmc.credentials is missing"),
        ({"credentials": "env:NOBODY_SET_THIS"}, "env:NOBODY_SET_THIS, and there is nothing there"),
        ({"credentials": "file:/nowhere/bmc"}, "cannot be read: No such file"),
        ({"credentials": "var:other"}, "nothing there"),
    ],
)
def test_a_secret_that_is_not_there(entry: dict[str, Any], words: str) -> None:
    with pytest.raises(BmcError, match=words):
        credentials(entry, variable)


def test_a_secret_that_is_no_login_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BMC_LOGIN", "onlyaword")
    with pytest.raises(BmcError, match="no user and password") as refused:
        credentials({"credentials": "env:BMC_LOGIN"}, variable)
    assert "onlyaword" not in str(refused.value)


def test_addresses() -> None:
    assert redfish_host({"address": "https://10.0.0.5:8443/redfish"}) == "10.0.0.5:8443"
    assert redfish_host({"address": "bmc-1"}) == "bmc-1"
    with pytest.raises(BmcError, match="begins with https"):
        redfish_host({"address": "http://10.0.0.5"})
    assert port_of({"address": "10.0.0.5:6230"}, 623) == ("10.0.0.5", 6230)
    assert port_of({"address": "[fe80::1]"}, 623) == ("fe80::1", 623)
    assert port_of({}, 9) == ("255.255.255.255", 9)
    with pytest.raises(BmcError, match="expected a host"):
        port_of({"address": "10.0.0.5:port"}, 623)
