# SPDX-License-Identifier: GPL-3.0-or-later
"""The role cni's templates with Ansible's own filters, and what they are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ansible.plugins.test.core as ansible_tests
import jinja2
import yaml
from ansible.plugins.filter.core import FilterModule

TEMPLATES = Path(__file__).resolve().parents[2] / "roles/cni/templates"
CALICO: dict[str, Any] = {
    "cni_pod_subnet": "10.244.0.0/16",
    "cni_calico_encapsulation": "VXLAN",
    "cni_calico_bgp": False,
    "cni_calico_dataplane": "Iptables",
    "cni_calico_api_server": False,
    "cni_calico_installation": {},
    "cni_mtu": 0,
}
CILIUM: dict[str, Any] = {
    "cni_mtu": 0,
    "cni_members": ["cp-1"],
    "cni_api_endpoint": "10.0.0.11:6443",
    "__cni_seen": {"endpoint": ""},
    "cni_cilium_kube_proxy_replacement": False,
    "cni_cilium_wireguard": True,
    "cni_cilium_hubble_relay": True,
    "cni_cilium_l2_announcements": False,
    "cni_cilium_l2_interfaces": [],
    "cni_cilium_gateway": "none",
    "cni_cilium_image_digests": True,
    "cni_load_balancer_ranges": [],
    "artifacts_images": {
        name: f"mirror/{name}:v1" for name in ("cilium", "cilium_operator", "cilium_envoy", "hubble_relay")
    },
}


def render(name: str, variables: dict[str, Any]) -> list[Any]:
    """The documents that a template makes."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
        autoescape=jinja2.select_autoescape(),  # YAML is none of those that it escapes
    )
    environment.filters.update(FilterModule().filters())
    environment.tests.update(ansible_tests.TestModule().tests())
    return [one for one in yaml.safe_load_all(environment.get_template(name).render(variables)) if one]
