# SPDX-License-Identifier: GPL-3.0-or-later
"""Names in /etc/hosts."""

from __future__ import annotations

from kubestead.model import node_names

HOSTS = """\
127.0.0.1\tlocalhost
127.0.1.1\told.home.lan old
# The following lines are for IPv6
::1 localhost
"""
MACHINES = [("node-1", "10.0.0.11"), ("node-2", "fd00::12")]


def test_one_block_and_every_other_line_stays() -> None:
    once = node_names.hosts_text(HOSTS, MACHINES)
    assert once.startswith(HOSTS)
    assert f"{node_names.BEGIN}\n10.0.0.11 node-1\nfd00::12 node-2\n{node_names.END}\n" in once
    assert node_names.hosts_text(once, MACHINES) == once


def test_the_block_stays_where_it_is() -> None:
    text = node_names.hosts_text(HOSTS, MACHINES) + "10.0.0.99 printer\n"
    fewer = node_names.hosts_text(text, MACHINES[:1])
    assert fewer.endswith(f"{node_names.END}\n10.0.0.99 printer\n")
    assert "node-2" not in fewer


def test_without_machines_without_block() -> None:
    assert node_names.hosts_text(node_names.hosts_text(HOSTS, MACHINES), []) == HOSTS
    assert node_names.hosts_text("no newline at the end", []) == "no newline at the end"


def test_a_new_name_takes_the_old_one_s_place() -> None:
    text = node_names.hosts_text(HOSTS, [], "old", "new")
    assert "127.0.1.1\tnew\n" in text
    assert node_names.hosts_text(text, [], "new", "new") == text


def test_what_speaks_against_it_is_named() -> None:
    text = "10.0.0.77 node-1 printer # the old one\n127.0.1.1 node-1\n"
    [told] = node_names.warnings(text, MACHINES)
    assert "10.0.0.77" in told
    assert "10.0.0.11" in told
    [told] = node_names.warnings("# Your system has configured 'manage_etc_hosts' as True.\n", MACHINES)
    assert "cloud-init" in told


def test_what_is_no_name_or_address() -> None:
    problems = node_names.hosts_problems(
        [("Node_1", "10.0.0.11"), ("node-2", "node-2.lan"), ("a" * 64, "::1")]
    )
    assert [problem.split(" ")[0] for problem in problems] == ["'Node_1'", "node-2:", f"'{'a' * 64}'"]


def test_network_manager_is_told_of_links() -> None:
    text = node_names.unmanaged_text("# ours\n", ["cni*", "vxlan.calico"])
    assert text == "# ours\n[keyfile]\nunmanaged-devices=interface-name:cni*;interface-name:vxlan.calico\n"
