# SPDX-License-Identifier: GPL-3.0-or-later
"""What may reach a node: ports by role and pod network, rules, and who filters already."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kubestead.model import firewall_rules, firewalls, node_firewall, node_ports
from kubestead.model.converging import Converging
from kubestead.model.firewall_rules import Rules
from kubestead.model.node_ports import CONTROL_PLANE, NONE, WORKER, Port

WORKER_RULES = Rules(
    ssh=(22, 2222),
    ports=(*node_ports.needed(WORKER, "flannel", ["vxlan"], []), Port("9100", "tcp", "asked for")),
    trusted=("10.244.0.0/16", "fd00:10::/56"),
)


def numbers(*arguments: Any) -> set[str]:
    return {str(port) for port in node_ports.needed(*arguments)}


def test_ports_by_role() -> None:
    worker = numbers(WORKER, "flannel", ["vxlan"], [6443])
    assert worker == {"10250/tcp", "10256/tcp", "8472/udp", "30000-32767/tcp", "30000-32767/udp"}
    control_plane = numbers(CONTROL_PLANE, "flannel", ["vxlan"], [6443, 8443])
    assert control_plane - worker == {"6443/tcp", "8443/tcp", "2379-2380/tcp"}
    assert numbers(NONE, "flannel", ["vxlan"], [6443]) == set()


def test_ports_by_pod_network() -> None:
    assert "8472/udp" not in numbers(WORKER, "flannel", ["host-gw"], [])
    assert {"179/tcp", "4789/udp", "5473/tcp"} <= numbers(WORKER, "calico", ["vxlan", "bgp"], [])
    assert not {"179/tcp", "4789/udp"} & numbers(WORKER, "calico", ["ipip"], [])
    assert {"8472/udp", "4240/tcp", "51871/udp"} <= numbers(WORKER, "cilium", ["wireguard"], [])
    assert node_ports.protocols(CONTROL_PLANE, ["ipip"]) == [node_ports.VRRP, node_ports.IPIP]
    assert node_ports.protocols(WORKER, ["vxlan"]) == []


def test_ports_that_are_asked_for() -> None:
    ports, problems = node_ports.parse_extra(["9100/tcp", "6881-6889/udp"])
    assert [str(port) for port in ports] == ["9100/tcp", "6881-6889/udp"]
    assert problems == []
    wrong = ["9100", "0/tcp", "70000/udp", "20-10/tcp", "22/tcp; drop"]
    assert len(node_ports.parse_extra(wrong)[1]) == len(wrong)
    assert node_ports.covers(ports, 6885, "udp")
    assert not node_ports.covers(ports, 6885, "tcp")


def test_networks() -> None:
    assert node_ports.parse_networks(["10.0.0.5/24", "fd00::/64"]) == (["10.0.0.0/24", "fd00::/64"], [])
    assert "10.0.0.0/33" in node_ports.parse_networks(["10.0.0.0/33"])[1][0]


def test_ssh_comes_first_and_the_drop_last() -> None:
    for text in (
        firewall_rules.nft_text(WORKER_RULES)[0],
        *(firewall_rules.iptables_text(WORKER_RULES, ipv6)[0] for ipv6 in (False, True)),
    ):
        lines = text.splitlines()
        ssh = next(number for number, line in enumerate(lines) if "2222" in line)
        drops = [number for number, line in enumerate(lines) if "drop" in line.lower()]
        assert len(drops) == 1
        assert ssh < drops[0]
        assert all("10250" not in line for line in lines[:ssh])


def test_only_named_networks_reach_the_ports_where_they_are_named() -> None:
    rules = WORKER_RULES._replace(sources=("10.0.0.0/24",))
    text = firewall_rules.nft_text(rules)[0]
    assert "ip saddr { 10.0.0.0/24 } tcp dport { 10250," in text
    assert "\n        tcp dport { 10250" not in text
    assert "\n        tcp dport { 22, 2222 } accept" in text, "SSH is open to everybody"
    six = firewall_rules.iptables_text(rules, True)[0]
    assert "10250" not in six, "no network of IPv6 is named"
    assert "--dport 2222 -j RETURN" in six


def test_the_kernel_shows_which_rules_it_has() -> None:
    text, mark = firewall_rules.nft_text(WORKER_RULES)
    other = firewall_rules.nft_text(WORKER_RULES._replace(ssh=(22,)))[1]
    assert f'comment "{mark}"' in text
    assert mark != other


@pytest.mark.parametrize("program", ["nft", "iptables-restore", "ip6tables-restore"])
def test_the_programs_take_the_rules(program: str) -> None:
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if not path:
        pytest.skip(f"{program} is not installed")
    rules = WORKER_RULES._replace(protocols=(112, 4), marked=True, sources=("10.0.0.0/24", "fd00::/64"))
    if program == "nft":
        command, text = [path, "-c", "-f", "-"], firewall_rules.nft_text(rules)[0]
    else:
        command, text = [path, "--test", "--noflush"], firewall_rules.iptables_text(rules, "6" in program)[0]
    done = subprocess.run(command, input=text, text=True, capture_output=True, check=False)
    if "Operation not permitted" in done.stderr or "Permission denied" in done.stderr:
        pytest.skip("only root may ask the kernel")
    assert done.returncode == 0, done.stderr


def test_firewalld_gets_one_service_with_all_ports() -> None:
    text = firewall_rules.firewalld_text(WORKER_RULES._replace(protocols=(112,)))
    assert '<port protocol="tcp" port="2222"/>' in text
    assert '<port protocol="udp" port="30000-32767"/>' in text
    assert '<protocol value="vrrp"/>' in text


NFT = """\
table ip filter {
\tchain INPUT {
\t\ttype filter hook input priority filter; policy %s;
\t}
}
table inet kubestead_node {
\tchain input {
\t\ttype filter hook input priority filter + 5; policy drop;
\t}
}
"""


class Programs:
    """Programs that say what they are told to."""

    def __init__(self, **said: tuple[int, str]) -> None:
        self.said, self.asked = said, list[str]()

    def __call__(self, argv: Any, stdin: Any = None, timeout: float = 30) -> tuple[int, str, str]:
        words = " ".join(argv)
        self.asked.append(words)
        for start, (code, out) in self.said.items():
            if words.startswith(start.replace("_", " ")):
                return code, out, ""
        return 127, "", "not found"


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({"nft_list": (0, NFT % "accept")}, []),
        ({"nft_list": (0, NFT % "drop")}, ["nftables"]),
        ({"iptables": (0, "-P INPUT DROP\n")}, ["iptables"]),
        ({"iptables": (0, "-P INPUT ACCEPT\n")}, []),
        ({}, []),
    ],
)
def test_firewalls_of_others(tmp_path: Path, said: dict[str, tuple[int, str]], found: list[str]) -> None:
    assert firewalls.active(Programs(**said), tmp_path) == found


def test_firewalls_that_say_so_in_files(tmp_path: Path) -> None:
    (tmp_path / "etc/ufw").mkdir(parents=True)
    (tmp_path / "etc/ufw/ufw.conf").write_text("# on at boot\nENABLED=yes\n", encoding="utf-8")
    (tmp_path / "run/firewalld").mkdir(parents=True)
    assert firewalls.active(Programs(systemctl=(3, "")), tmp_path) == ["ufw"]
    assert firewalls.active(Programs(systemctl=(0, "")), tmp_path) == ["firewalld", "ufw"]


def test_every_port_of_ssh_is_found() -> None:
    run = Programs(
        sshd=(0, "port 2022\naddressfamily any\n"),
        systemctl=(0, "Listen=[::]:2222 (Stream)\nListen=0.0.0.0:2223 (Stream)\n"),
    )
    assert {22, 2022, 2222, 2223, 4022} <= set(firewalls.ssh_ports(run, [4022]))


def test_listening_ports_of_others_than_the_machine_itself(tmp_path: Path) -> None:
    (tmp_path / "proc/net").mkdir(parents=True)
    row = "  {n}: {address} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 0 0 {inode} 1\n"
    rows = [
        row.format(n=0, address="00000000:0016", state="0A", inode=1),
        row.format(n=1, address="0100007F:1F90", state="0A", inode=2),
        row.format(n=2, address="0A00000B:2710", state="01", inode=3),
    ]
    (tmp_path / "proc/net/tcp").write_text("header\n" + "".join(rows), encoding="utf-8")
    assert firewalls.listening(tmp_path) == [(22, "")]


class Module:
    """As much of an AnsibleModule as there is use for."""

    check_mode, _diff = False, False


def test_rules_that_were_taken_away_are_not_confirmed() -> None:
    firewall = node_firewall.Firewall(Converging(Module()), Programs(systemctl_is=(3, "inactive")), 60)
    with pytest.raises(node_firewall.FirewallError, match="os_prep_firewall_ssh_ports"):
        firewall.confirm("nftables")


def test_confirmed_rules_stay() -> None:
    run = Programs(systemctl=(0, ""))
    node_firewall.Firewall(Converging(Module()), run, 60).confirm("nftables")
    assert run.asked[-2:] == [
        "systemctl enable --quiet kubestead-firewall.service",
        "systemctl stop kubestead-firewall-undo.timer",
    ]
