# SPDX-License-Identifier: GPL-3.0-or-later
"""What a cluster leaves on a machine is found and taken away, and nothing else."""

from __future__ import annotations

from pathlib import Path

from kubestead.model.endpoint_files import MARK
from kubestead.model.leftovers import (
    Leftover,
    clear_control_plane,
    find_all,
    removal_script,
    remove,
    remove_all,
)
from kubestead.model.resetting import explain, reset, wake_runtime
from tests.unit.kubeadm_sample import (
    Programs,
    SampleHost,
    kubeconfig,
    make_certificate,
    put,
    put_control_plane,
    sample_host,
)

SAVED = """\
*nat
:PREROUTING ACCEPT [0:0]
:MINE - [0:0]
:KUBE-SERVICES - [0:0]
:CNI-HOSTPORT-DNAT - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A PREROUTING -p tcp --dport 22 -j MINE
-A MINE -j ACCEPT
-A KUBE-SERVICES -d 10.96.0.1/32 -j KUBE-SERVICES
COMMIT
*filter
:INPUT ACCEPT [0:0]
-A INPUT -p tcp --dport 22 -j ACCEPT
-A INPUT -m comment --comment "no jump to -j KUBE-X here" -j ACCEPT
COMMIT
"""


def test_only_rules_of_the_cluster_are_removed() -> None:
    assert removal_script(SAVED) == (
        "*nat\n"
        '-D PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES\n'
        "-F KUBE-SERVICES\n-F CNI-HOSTPORT-DNAT\n-X KUBE-SERVICES\n-X CNI-HOSTPORT-DNAT\nCOMMIT\n"
    )


def test_without_such_rules_nothing_is_to_be_done() -> None:
    assert removal_script("*filter\n:INPUT ACCEPT [0:0]\n:DOCKER - [0:0]\n-A INPUT -j DOCKER\nCOMMIT\n") == ""


def test_a_clean_machine_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "etc/kubernetes/manifests").mkdir(parents=True)  # the package brings the empty folder
    put(tmp_path, "etc/cni/net.d/87-podman-bridge.conflist")
    programs = Programs({"iptables-save": (0, "*filter\nCOMMIT\n", "")})
    result = reset(sample_host(tmp_path, programs))
    assert not result.changed
    assert not [call for call in programs.calls if call.startswith(("systemctl stop", "kubeadm"))]


def whole(root: Path) -> tuple[SampleHost, Programs]:
    """A control plane with pods, mounts, links and rules."""
    put_control_plane(root, *make_certificate("kubernetes"))
    put(root, "etc/cni/net.d/10-flannel.conflist")
    put(root, "etc/cni/net.d/87-podman-bridge.conflist")
    put(root, "var/lib/kubelet/pods/1/data")
    put(root, "run/flannel/subnet.env")
    mount = str(root / "var/lib/kubelet/pods/1/volume")
    programs = Programs(
        {
            "crictl --runtime-endpoint unix:///var/run/containerd/containerd.sock pods": (0, "abc\n", ""),
            "systemctl show": (0, "LoadState=loaded\nActiveState=active\n", ""),
            "systemctl stop": (0, "", ""),
            "nft list tables": (0, "table ip kube-proxy\ntable inet mine\n", ""),
            "iptables-save": (0, SAVED, ""),
        }
    )
    host = sample_host(root, programs, ["/", str(root / "var/lib/kubelet"), mount, mount + "\\040two"])
    host.link_names = ("lo", "eth0", "docker0", "cni0", "flannel.1")
    return host, programs


def test_everything_is_found_the_innermost_mount_first(tmp_path: Path) -> None:
    host, _programs = whole(tmp_path)
    found = [str(piece).replace(str(tmp_path), "") for piece in find_all(host)]
    assert found[:9] == [
        "pod abc",
        "mount /var/lib/kubelet/pods/1/volume two",
        "mount /var/lib/kubelet/pods/1/volume",
        "link cni0",
        "link flannel.1",
        "iptables iptables-save",
        "nft ip kube-proxy",
        "path /etc/kubernetes/admin.conf",
        "path /etc/kubernetes/kubelet.conf",
    ]
    assert "path /etc/cni/net.d/10-flannel.conflist" in found
    assert "path /var/lib/etcd/member" in found
    assert not [piece for piece in found if "podman" in piece or "docker" in piece or "mine" in piece]


def test_check_mode_only_says_what_it_would_do(tmp_path: Path) -> None:
    host, programs = whole(tmp_path)
    result = reset(host, check=True)
    assert result.changed
    assert "cni0" in result.summary()["link"]
    assert (tmp_path / "var/lib/etcd/member/snap/db").exists()
    assert not [
        call for call in programs.calls if call.startswith(("systemctl stop", "kubeadm", "ip link", "umount"))
    ]


def test_everything_is_taken_away(tmp_path: Path) -> None:
    host, programs = whole(tmp_path)

    def gone(line: str) -> tuple[int, str, str]:
        if line.startswith("ip link delete"):
            host.link_names = [name for name in host.link_names if not line.endswith(" " + name)]
        elif line.startswith("umount"):
            put(tmp_path, "proc/self/mountinfo", "")
        elif line.startswith("nft delete"):
            programs.answers["nft list tables"] = (0, "table inet mine\n", "")
        elif line.startswith("iptables-restore --noflush"):
            programs.answers["iptables-save"] = (0, "", "")
        elif " rmp " in line:
            programs.answers = {
                name: (0, "", "") if " pods" in name else x for name, x in programs.answers.items()
            }
        return 0, "", ""

    crictl = "crictl --runtime-endpoint unix:///var/run/containerd/containerd.sock --timeout"
    programs.answers |= dict.fromkeys(
        ("ip link", "umount", "nft delete", "iptables-restore", crictl, "kubeadm"), gone
    )
    result = reset(host)
    assert (result.left, result.problems, result.kubelet_stopped) == ([], [], True)
    assert list((tmp_path / "var/lib/etcd").iterdir()) == []
    assert (tmp_path / "etc/cni/net.d/87-podman-bridge.conflist").exists()
    assert host.link_names == ["lo", "eth0", "docker0"]
    assert programs.calls.index("systemctl stop kubelet.service") < programs.calls.index(
        "ip link delete cni0"
    )


def test_what_cannot_be_taken_away_is_named(tmp_path: Path) -> None:
    host, programs = whole(tmp_path)
    programs.answers["umount"] = (32, "", "target is busy")
    programs.answers["ip link"] = (2, "", "Operation not permitted")
    result = reset(host, use_kubeadm=False)
    message = explain("cp-1", result)
    for words in ("cp-1", "link cni0", "target is busy", "Operation not permitted", "same command again"):
        assert words in message


def test_what_is_still_mounted_is_not_deleted(tmp_path: Path) -> None:
    host, programs = whole(tmp_path)
    data = put(tmp_path, "var/lib/kubelet/pods/1/volume/data")
    programs.answers["umount"] = (32, "", "target is busy")
    result = reset(host, use_kubeadm=False)
    assert data.exists()
    itself = sample_host(tmp_path, programs, ["/", str(data.parent)])
    assert "is still mounted" in remove(itself, Leftover("path", str(data.parent)))
    assert data.exists()
    assert "pods/1/volume is still mounted, so nothing in it was deleted" in explain("cp-1", result).replace(
        str(tmp_path), ""
    )


def test_a_silent_runtime_is_started_because_only_it_can_end_its_pods(tmp_path: Path) -> None:
    host, programs = whole(tmp_path)
    started: list[str] = []

    def start(line: str) -> tuple[int, str, str]:
        started.append(line)
        return 0, "", ""

    version = "crictl --runtime-endpoint unix:///var/run/containerd/containerd.sock version"
    programs.answers = {
        version: lambda _line: (0, "", "") if started else (1, "", "connection refused"),
        "systemctl start": start,
        **programs.answers,
    }
    assert wake_runtime(host) == ""
    assert started == ["systemctl start containerd.service"]


def test_nothing_is_removed_while_the_runtime_is_silent(tmp_path: Path) -> None:
    host, programs = whole(tmp_path)
    programs.answers = {"crictl": (1, "", "connection refused")}
    assert "connection refused" in wake_runtime(host, patience=0)
    assert wake_runtime(sample_host(tmp_path, Programs())) == ""


def test_an_unfinished_initialisation_keeps_the_authorities_that_a_person_brought(tmp_path: Path) -> None:
    host, programs = whole(tmp_path)

    def unmounted(_line: str) -> tuple[int, str, str]:
        put(tmp_path, "proc/self/mountinfo", "")
        return 0, "", ""

    programs.answers |= {"umount": unmounted, "crictl": (0, "", "")}
    put(tmp_path, "etc/kubernetes/kubestead-init.json", "{}")
    put(tmp_path, "etc/kubernetes/manifests/kube-vip.yaml", f"{MARK}\n{{}}\n")  # of the address, there before
    assert clear_control_plane(host, ["ca.crt", "ca.key"]) == []
    left = sorted(
        str(p.relative_to(tmp_path / "etc/kubernetes")) for p in (tmp_path / "etc/kubernetes").rglob("*.*")
    )
    assert left == ["kubestead-init.json", "manifests/kube-vip.yaml", "pki/ca.crt", "pki/ca.key"]
    assert (tmp_path / "var/lib/etcd/member/snap/db").exists()


def test_links_and_files_of_other_pod_networks_are_found_and_no_others(tmp_path: Path) -> None:
    for name in (
        "05-cilium.conflist",
        "87-podman-bridge.conflist.cilium_bak",
        "10-flannel.conflist.cilium_bak",
    ):
        put(tmp_path, f"etc/cni/net.d/{name}")
    put(tmp_path, "run/calico/x")
    put(tmp_path, "run/cilium/state")
    put(tmp_path, "sys/fs/bpf/tc/globals/cilium_lxc")
    put(tmp_path, "sys/fs/bpf/tc/globals/mine")
    programs = Programs(
        {
            "ip rule": (
                0,
                "0:\tfrom all lookup local\n9:\tfrom all fwmark 0x200/0xf00 lookup 2004\n"
                "50:\tfrom all fwmark 0x1 lookup 2005\n60:\tfrom 10.0.0.1 lookup 2004\n",
                "",
            ),
            "ip route show proto bird": (0, "10.1.0.0/26 via 10.0.0.2 dev eth0\n", ""),
            "nft list tables": (0, "table ip calico\ntable ip mycalico\n", ""),
        }
    )
    mounts = ["/", "/run", f"{tmp_path}/run/cilium/cgroupv2", f"{tmp_path}/run/mine"]
    host = sample_host(tmp_path, programs, mounts)
    ours = [
        "cali0123456789a",
        "cilium_host",
        "kube-dummy-if",
        "lxc0123456789ab",
        "lxc_health",
        "vxlan.calico",
    ]
    theirs = ["lo", "eth0", "lxcbr0", "lxdbr0", "vethab12", "virbr0", "wg0", "calico0", "br-cilium"]
    host.link_names = (*theirs, *ours)
    found = [str(piece).replace(str(tmp_path), "") for piece in find_all(host)]
    assert sorted(found) == sorted(
        [
            *(f"link {name}" for name in ours),
            "mount /run/cilium/cgroupv2",
            "rule 9",
            "rule 50",
            "routes bird",
            "nft ip calico",
            "path /etc/cni/net.d/05-cilium.conflist",
            "path /etc/cni/net.d/10-flannel.conflist.cilium_bak",
            "set aside /etc/cni/net.d/87-podman-bridge.conflist.cilium_bak",
            "path /run/calico",
            "path /run/cilium",
            "path /sys/fs/bpf/tc/globals/cilium_lxc",
        ]
    )


def test_what_cilium_has_set_aside_gets_its_name_back(tmp_path: Path) -> None:
    net = tmp_path / "etc/cni/net.d"
    put(tmp_path, "etc/cni/net.d/87-podman-bridge.conflist.cilium_bak", "podman")
    put(tmp_path, "etc/cni/net.d/10-mine.conf.cilium_bak", "old")
    put(tmp_path, "etc/cni/net.d/10-mine.conf", "new")
    host = sample_host(tmp_path, Programs())
    assert remove_all(host, find_all(host)) == []
    assert {path.name: path.read_text() for path in net.iterdir()} == {
        "10-mine.conf": "new",
        "10-mine.conf.cilium_bak": "old",
        "87-podman-bridge.conflist": "podman",
    }
    assert find_all(host) == []


def test_a_persons_kubeconfig_goes_only_when_it_leads_to_this_cluster(tmp_path: Path) -> None:
    authority, key = make_certificate("kubernetes")
    other, _key = make_certificate("kubernetes")
    put_control_plane(tmp_path, authority, key)
    client = make_certificate("me")
    put(tmp_path, "root/.kube/config", kubeconfig("https://10.77.0.11:6443", authority, *client))
    put(tmp_path, "home/ann/.kube/config", kubeconfig("https://10.9.9.9:6443", other, *client))
    both = kubeconfig("https://10.77.0.11:6443", authority, *client) + kubeconfig(
        "https://x:1", other, *client
    )
    put(tmp_path, "home/bob/.kube/config", both)
    put(tmp_path, "home/cat/.kube/config", "nothing")

    def kubeadm_reset(_line: str) -> tuple[int, str, str]:
        (tmp_path / "etc/kubernetes/pki/ca.crt").unlink()
        return 0, "", ""

    programs = Programs({"kubeadm reset": kubeadm_reset, "systemctl": (0, "", "")})
    result = reset(sample_host(tmp_path, programs))
    assert not result.left
    assert result.summary()["kubeconfig"] == [str(tmp_path / "root/.kube/config")]
    assert not (tmp_path / "root/.kube/config").exists()
    assert sorted(path.parent.parent.name for path in tmp_path.glob("home/*/.kube/config")) == [
        "ann",
        "bob",
        "cat",
    ]


def test_what_is_kept_is_said(tmp_path: Path) -> None:
    put(tmp_path, "etc/cni/net.d/87-podman-bridge.conflist")
    put(tmp_path, "etc/kubernetes/admin.conf")
    put(tmp_path, "var/log/kubeadm-init.log")
    put(tmp_path, "var/log/kubernetes/audit/audit.log")
    crictl = "crictl --runtime-endpoint unix:///var/run/containerd/containerd.sock "
    programs = Programs({crictl + "images": (0, "a\nb\n", ""), crictl: (0, "", ""), "systemctl": (0, "", "")})
    told = reset(sample_host(tmp_path, programs)).kept
    assert told[1:5] == [
        "the container runtime, with 2 images",
        "/etc/cni/net.d/87-podman-bridge.conflist",
        "/var/log/kubeadm-init.log",
        "/var/log/kubernetes",
    ]
    assert (tmp_path / "var/log/kubernetes/audit/audit.log").exists()
