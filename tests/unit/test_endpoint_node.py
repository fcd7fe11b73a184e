# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine says of the address in front of its cluster."""

from __future__ import annotations

import http.server
import json
import socket
import struct
import threading
from pathlib import Path

import pytest

from kubestead.model import endpoint_node as node

LINKS = json.dumps(
    [
        {"ifname": "lo", "addr_info": [{"local": "127.0.0.1", "prefixlen": 8}]},
        {
            "ifname": "eth0",
            "addr_info": [
                {"local": "10.0.0.11", "prefixlen": 24},
                {"local": "10.0.0.100", "prefixlen": 32},
                {"local": "fd00::11", "prefixlen": 64},
                {},
            ],
        },
        {"ifname": "eth1", "addr_info": [{"local": "192.168.1.11", "prefixlen": 25}]},
        {},
    ]
)
HELD = node.addresses(LINKS)


def test_the_interface_is_the_one_with_the_address() -> None:
    assert node.interface_of(HELD, "10.0.0.11") == "eth0"
    assert node.interface_of(HELD, "fd00:0::11") == "eth0"
    assert node.interface_of(HELD, "10.0.0.12") == ""
    assert node.addresses("") == []


@pytest.mark.parametrize(
    ("interface", "vip", "words"),
    [
        ("eth0", "10.0.0.100", ""),
        ("eth0", "10.0.0.99", ""),
        ("eth0", "fd00::100", ""),
        ("eth1", "192.168.1.127", ""),
        ("eth1", "192.168.1.128", "in no network of eth1 (192.168.1.0/25)"),
        ("eth0", "10.0.1.100", "in no network of eth0 (10.0.0.0/24)"),
        ("eth1", "fd00::100", "in no network of eth1 (none)"),
        ("eth7", "10.0.0.99", "is eth7, expected one with an address: eth0, eth1, lo"),
    ],
)
def test_the_virtual_address_lies_in_a_network_of_the_interface(interface: str, vip: str, words: str) -> None:
    problem = node.network_problem(HELD, interface, vip)
    assert bool(problem) == bool(words)
    assert words in problem


def test_an_address_that_is_held_already_is_no_network_of_its_own() -> None:
    held = [node.Held("eth0", "10.0.0.11", 24), node.Held("eth0", "10.9.0.100", 32)]
    assert "10.0.0.0/24" in node.network_problem(held, "eth0", "10.9.0.100")


def test_where_the_cluster_is_reached(tmp_path: Path) -> None:
    assert node.cluster_endpoint(tmp_path) == ""
    folder = tmp_path / "etc/kubernetes"
    folder.mkdir(parents=True)
    (folder / "admin.conf").write_text("clusters:\n- cluster:\n    server: https://10.0.0.100:8443\n")
    assert node.cluster_endpoint(tmp_path) == ""
    (tmp_path / "var/lib/etcd/member").mkdir(parents=True)
    assert node.cluster_endpoint(tmp_path) == "https://10.0.0.100:8443"


def test_a_host_is_resolved_or_not_known() -> None:
    assert node.resolve("127.0.0.1") == {"127.0.0.1"}
    assert node.resolve("api.invalid") == set()


def test_a_kubeconfig_that_is_none_leads_nowhere(tmp_path: Path) -> None:
    assert not node.may_lead(tmp_path / "admin.conf", "127.0.0.1", 1)
    (tmp_path / "admin.conf").write_text("server: https://10.0.0.100:8443\n")
    assert not node.may_lead(tmp_path / "admin.conf", "127.0.0.1", 1)


class Answers(http.server.BaseHTTPRequestHandler):
    """Well at /alive, not at anything else."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200 if self.path == "/alive" else 503)
        self.end_headers()

    def log_message(self, *_words: object) -> None:
        """Say nothing."""


def test_answers_and_their_absence() -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        port = server.server_address[1]
        try:
            assert node.get("127.0.0.1", port, "/alive", tls=False) == (200, "")
            assert node.get("127.0.0.1", port, "/ready", tls=False) == (503, "")
            assert node.connects("127.0.0.1", port)
            status, problem = node.get("127.0.0.1", port, "/alive", timeout=5)
            assert status == 0
            assert problem
        finally:
            server.shutdown()
            thread.join()
    assert not node.connects("127.0.0.1", port)
    assert "refused" in node.get("127.0.0.1", port, "/alive")[1]


def arp(operation: int, mac: bytes, address: str) -> bytes:
    """An ARP frame with this sender."""
    head = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
    return b"\0" * 12 + b"\x08\x06" + head + mac + socket.inet_aton(address) + b"\0" * 10


def test_only_replies_tell_who_has_an_address() -> None:
    mac = bytes.fromhex("525400000001")
    assert node.arp_sender(arp(2, mac, "10.0.0.100")) == ("10.0.0.100", "52:54:00:00:00:01")
    assert node.arp_sender(arp(1, mac, "10.0.0.100")) == ("", "")
    assert node.arp_sender(arp(2, mac, "10.0.0.100")[:40]) == ("", "")


def test_a_question_is_a_probe_that_changes_nobodys_table() -> None:
    frame = node.arp_question(bytes.fromhex("525400000001"), "10.0.0.100")
    assert frame[:6] == b"\xff" * 6
    assert frame[28:32] == b"\0" * 4
    assert frame[38:42] == socket.inet_aton("10.0.0.100")
    assert len(frame) == 42
