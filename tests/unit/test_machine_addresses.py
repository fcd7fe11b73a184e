# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and addresses for /etc/hosts, and the words about clones."""

from __future__ import annotations

from tests.unit.collection_sample import load

machine_addresses = load("filter.machine_addresses").machine_addresses
machine_clones = load("filter.machine_clones").machine_clones

HOSTS = [
    {"inventory_hostname": "node-1", "machine_ip": "10.0.0.11", "ansible_host": "192.0.2.11"},
    {"inventory_hostname": "Node-2", "ansible_host": "10.0.0.12"},
    {"inventory_hostname": "node-3", "ansible_host": "node-3.lan"},
    {"inventory_hostname": "under_score", "ansible_host": "10.0.0.14"},
    {"inventory_hostname": "other", "ansible_host": "10.0.0.99"},
]


def test_own_addresses_before_those_of_ssh_and_only_of_machines_that_are_meant() -> None:
    assert machine_addresses(HOSTS, ["Node-2", "node-1", "node-3", "under_score", "missing"]) == [
        {"name": "node-2", "address": "10.0.0.12"},
        {"name": "node-1", "address": "10.0.0.11"},
    ]


def test_clones_are_named_with_what_to_do() -> None:
    seen = {
        "a": {"machine_id": "1", "product_uuid": "12ab"},
        "b": {"machine_id": "1", "product_uuid": "12ab"},
    }
    by_id, by_uuid = machine_clones(seen)
    assert by_id.startswith("a, b share the machine-id 1")
    assert "systemd-machine-id-setup" in by_id
    assert "preflight_check_product_uuid" in by_uuid
    assert machine_clones(seen, ["machine_id"]) == [by_id]
    assert machine_clones(seen, []) == []
