# SPDX-License-Identifier: GPL-3.0-or-later
"""Mirrors of registries as CRI-O reads them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from tests.unit.collection_sample import load

crio_registries = load("filter.crio_registries").crio_registries


def test_mirrors_in_order_and_then_the_registry() -> None:
    text = crio_registries({"docker.io": ["http://10.0.0.10:5000/hub/", "https://b.lan"], "quay.io": []})
    assert text.startswith("# Managed by kubestead.homelab")
    assert 'prefix = "docker.io"\nlocation = "docker.io"\n' in text
    assert 'location = "10.0.0.10:5000/hub"\ninsecure = true\n' in text
    assert 'location = "b.lan"\ninsecure = false\n' in text
    assert text.index("10.0.0.10") < text.index("b.lan") < text.index("quay.io")


def test_insecure_registries() -> None:
    text = crio_registries({"docker.io": ["https://b.lan"]}, insecure=["b.lan", "c.lan:5000"])
    assert 'location = "b.lan"\ninsecure = true\n' in text
    assert 'prefix = "c.lan:5000"\nlocation = "c.lan:5000"\ninsecure = true\n' in text
    assert text.count("[[registry]]") == 2


@pytest.mark.parametrize(
    "mirrors",
    [{"_default": ["http://a"]}, {"a/b": []}, {"a": "http://b"}, {"a": ["ftp://b"]}, {"a": ['http://b"']}],
)
def test_what_is_no_registry_or_no_url_is_refused(mirrors: Any) -> None:
    with pytest.raises(AnsibleFilterError):
        crio_registries(mirrors)
