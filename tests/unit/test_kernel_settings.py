# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernel modules and sysctls, on a root folder of our own."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubestead.model import host, kernel

RELEASE = "6.1.0-test"


def put(root: Path, name: str, text: str) -> Path:
    """A file below the root."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine with one loaded module, one built in and one that shows by its file system."""
    put(tmp_path, "proc/modules", "br_netfilter 32768 0 - Live 0x0\nbridge 311296 1 br_netfilter, Live 0x0\n")
    put(tmp_path, f"lib/modules/{RELEASE}/modules.builtin", "kernel/net/netfilter/nf-conntrack.ko\n")
    put(tmp_path, "proc/filesystems", "nodev\tproc\nnodev\toverlay\n\text4\n")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("br_netfilter", "loaded"),
        ("br-netfilter", "loaded"),
        ("nf_conntrack", "built_in"),
        ("overlay", "built_in"),
        ("ip_vs", "absent"),
    ],
)
def test_module_state(root: Path, name: str, state: str) -> None:
    assert kernel.module_state(name, RELEASE, root) == state


def test_a_kernel_shows_what_it_has_without_lists_of_modules(tmp_path: Path) -> None:
    put(tmp_path, "proc/sys/net/bridge/bridge-nf-call-iptables", "1\n")
    assert kernel.module_state("br_netfilter", RELEASE, tmp_path) == "built_in"


def test_a_missing_module_is_named_with_the_remedy() -> None:
    problem = kernel.module_problem("vxlan", RELEASE, "not found in directory")
    assert "vxlan" in problem
    assert RELEASE in problem
    assert "not found in directory" in problem


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/conf/eth0.100/forwarding", "net/ipv4/conf/eth0.100/forwarding"),
        ("net.ipv4.conf.eth0/100.forwarding", "net/ipv4/conf/eth0.100/forwarding"),
    ],
)
def test_sysctl_path(tmp_path: Path, key: str, path: str) -> None:
    assert kernel.sysctl_path(key, tmp_path) == tmp_path / "proc/sys" / path


@pytest.mark.parametrize(
    ("raw", "value"), [(True, "1"), (False, "0"), (1, "1"), ("4096\t131072  6291456", "4096 131072 6291456")]
)
def test_sysctl_value(raw: object, value: str) -> None:
    assert kernel.sysctl_value(raw) == value


def test_set_sysctl_reads_back(tmp_path: Path) -> None:
    path = put(tmp_path, "proc/sys/fs/inotify/max_user_instances", "16384\n")
    assert kernel.set_sysctl("fs.inotify.max_user_instances", "8", tmp_path) == ""
    assert path.read_text() == "8\n"
    assert kernel.live_sysctl("fs.inotify.max_user_instances", tmp_path) == "8"


def test_a_setting_that_the_kernel_lacks_is_named_and_not_made(tmp_path: Path) -> None:
    put(tmp_path, "proc/sys/net/x", "0\n")
    problem = kernel.set_sysctl("net.y", "1", tmp_path)
    assert "net.y" in problem
    assert "no such setting" in problem
    assert not (tmp_path / "proc/sys/net/y").exists()


def test_a_setting_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "proc/sys/net/folder").mkdir(parents=True)
    assert "net.folder" in kernel.set_sysctl("net.folder", "1", tmp_path)


def test_later_files_that_say_otherwise_are_named(tmp_path: Path) -> None:
    put(tmp_path, "etc/sysctl.d/10-before.conf", "net.ipv4.ip_forward=0\n")
    put(tmp_path, "etc/sysctl.d/zz-kubestead.conf", "net.ipv4.ip_forward = 1\n")
    put(
        tmp_path,
        "etc/sysctl.d/zzz.conf",
        "# net.ipv4.ip_forward=0\nnet/ipv4/ip_forward = 0\nkernel.panic=1\n",
    )
    settings = {"net.ipv4.ip_forward": "1", "kernel.panic": "1"}
    found = kernel.overriding(settings, "/etc/sysctl.d/zz-kubestead.conf", tmp_path)
    assert len(found) == 1
    assert "zzz.conf sets net.ipv4.ip_forward = 0" in found[0]


def test_files_are_rendered_in_the_given_order() -> None:
    assert kernel.render_modules(["overlay", "br_netfilter"]).endswith("\noverlay\nbr_netfilter\n")
    assert kernel.render_sysctls({"b": "1", "a": "2"}).endswith("\nb = 1\na = 2\n")


def test_modprobe_is_believed() -> None:
    asked = []

    def run(command: object) -> tuple[int, str]:
        asked.append(command)
        return (1, "modprobe: FATAL: Module ip_vs not found\n") if len(asked) == 1 else (0, "")

    assert "not found" in kernel.load_module("ip_vs", run)
    assert kernel.loadable("overlay", run) == ""
    assert asked == [["modprobe", "--", "ip_vs"], ["modprobe", "--dry-run", "--", "overlay"]]


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({}, ""),
        ({"run/systemd/container": "systemd-nspawn\n"}, "systemd-nspawn"),
        ({"proc/1/environ": "TERM=linux\0container=lxc\0"}, "lxc"),
        ({".dockerenv": ""}, "docker"),
        ({"run/.containerenv": ""}, "podman"),
    ],
)
def test_container_kind(tmp_path: Path, files: dict[str, str], kind: str) -> None:
    for name, text in files.items():
        put(tmp_path, name, text)
    assert host.container_kind(tmp_path) == kind


def test_cgroup_version(tmp_path: Path) -> None:
    assert host.cgroup_version(tmp_path) == 1
    put(tmp_path, "sys/fs/cgroup/cgroup.controllers", "cpu memory\n")
    assert host.cgroup_version(tmp_path) == 2
