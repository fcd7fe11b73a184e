# SPDX-License-Identifier: GPL-3.0-or-later
"""How plugins on the controller find the State API: by options, else by what its role has left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.collection_sample import load

state_api = load("plugin_utils.state_api")
StateApiError = load("module_utils.state_api_client").StateApiError


def place(options: dict[str, str], **server: Any) -> Any:
    """The place by these options, and by one host `pxe` in the group with these variables."""
    variables = {"groups": {"state_api": ["pxe", "other"]}, "hostvars": {"pxe": server}} if server else {}
    return state_api.find(options.get, variables)


@pytest.mark.parametrize(
    ("server", "url"),
    [
        ({"ansible_host": "10.0.0.10"}, "https://10.0.0.10:8080"),
        ({"state_api_port": 8443}, "https://pxe:8443"),
        ({"state_api_tls": False}, "http://pxe:8080"),
        ({"state_api_tls": "no"}, "http://pxe:8080"),
        ({"state_api_tls": "true", "ansible_host": "fd00::10"}, "https://[fd00::10]:8080"),
    ],
)
def test_the_address_by_the_inventory(server: dict[str, Any], url: str) -> None:
    assert place({}, **server).url == url


def test_token_and_ca_are_where_the_role_leaves_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBESTEAD_CACHE", str(tmp_path))
    found = place({}, ansible_host="10.0.0.10")
    assert found.token_file == str(tmp_path / "state-api" / "pxe.token")
    assert found.address().ca_file == ""
    (tmp_path / "state-api").mkdir()
    (tmp_path / "state-api" / "pxe.ca.crt").touch()  # the role has run meanwhile
    assert found.address().ca_file == str(tmp_path / "state-api" / "pxe.ca.crt")
    ca_file = tmp_path / "state-api" / "pxe.ca.crt"
    kept = tmp_path / "kept"
    moved = place({}, state_api_token_file=kept, state_api_ca_file=ca_file)
    assert moved.address()[1:] == (str(kept), str(ca_file))


def test_options_come_first() -> None:
    options = {"api_url": "https://a:1", "api_token_file": "/t", "api_ca_file": "/c"}
    assert place(options, ansible_host="b").address() == ("https://a:1", "/t", "/c")
    assert place(options).address() == ("https://a:1", "/t", "/c")


def test_nothing_is_known() -> None:
    assert place({}) == ("", "", "", "")
    with pytest.raises(StateApiError, match=r"api_url is not set.*KUBESTEAD_API_URL"):
        place({}).address().connect(1)
    with pytest.raises(StateApiError, match="api_token_file is not set"):
        place({"api_url": "http://a"}).address().connect(1)


def test_variables_are_values_before_they_set_options() -> None:
    class Templar:
        def template(self, value: str) -> str:
            return value.replace("{{ home }}", "/root")

    variables = {"kubestead_api_token_file": "{{ home }}/token", "other": "{{ home }}"}
    assert state_api.option_variables(variables, Templar()) == {"kubestead_api_token_file": "/root/token"}
