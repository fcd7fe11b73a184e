# SPDX-License-Identifier: GPL-3.0-or-later
"""Mirrors of registries as containerd's files."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

SOURCE = Path(__file__).parents[2] / "plugins/filter/containerd_hosts.py"


@pytest.fixture(scope="module")
def hosts() -> Any:
    """The filter, from its file."""
    spec = importlib.util.spec_from_file_location("containerd_hosts", SOURCE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.FilterModule().filters()["containerd_hosts"]


def test_one_file_a_registry_and_the_mirrors_in_order(hosts: Any) -> None:
    files = hosts(
        {"_default": ["http://10.0.0.10:8086"], "registry.example:5000": ["https://a", "https://b/x"]}
    )
    assert [file["path"] for file in files] == [
        "/etc/containerd/certs.d/_default/hosts.toml",
        "/etc/containerd/certs.d/registry.example:5000/hosts.toml",
    ]
    assert files[0]["content"].startswith("# Managed by kubestead.homelab")
    assert '[host."http://10.0.0.10:8086"]\n  capabilities = ["pull", "resolve"]\n' in files[0]["content"]
    assert files[1]["content"].index("https://a") < files[1]["content"].index("https://b/x")


def test_no_mirrors_no_files(hosts: Any) -> None:
    assert hosts({}) == []


def test_insecure_registries_and_mirrors(hosts: Any) -> None:
    mirrors = {"docker.io": ["https://mirror.lan:5000", "https://safe.lan"]}
    mirror, alone = hosts(mirrors, insecure=["mirror.lan:5000", "registry.lan"])
    assert mirror["content"].count("skip_verify = true") == 1
    assert mirror["content"].index("mirror.lan") < mirror["content"].index("skip_verify")
    assert mirror["content"].index("skip_verify") < mirror["content"].index("safe.lan")
    assert alone["path"] == "/etc/containerd/certs.d/registry.lan/hosts.toml"
    assert alone["content"].index("https://registry.lan") < alone["content"].index("http://registry.lan")


@pytest.mark.parametrize(
    "mirrors",
    [
        {"../../etc": ["https://a"]},
        {"..": ["https://a"]},
        {"registry.example": ["ftp://a"]},
        {"registry.example": "https://a"},
        {"registry.example": ['https://a"]\nx = 1']},
    ],
)
def test_what_is_no_registry_or_no_url_is_refused(hosts: Any, mirrors: Any) -> None:
    with pytest.raises(AnsibleFilterError):
        hosts(mirrors)
