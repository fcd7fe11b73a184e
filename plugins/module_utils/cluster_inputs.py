# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the settings of a cluster against each other: versions, the endpoint, what must not be empty."""

from __future__ import annotations

import ipaddress
import re
import typing as t
from dataclasses import dataclass

from .address_ranges import Checked

POD_NETWORKS = ("flannel", "calico", "cilium")
RUNTIMES = ("containerd", "crio")
ENDPOINT_MODES = ("none", "haproxy", "kube_vip", "external")
#: Modes in which the control planes share an address of their own.
WITH_VIP = ("haproxy", "kube_vip")

_MINOR = re.compile(r"1\.\d+")
_VERSION = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?")
_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9][-A-Za-z0-9.]*):(\d{1,5})")


@dataclass(frozen=True)
class Endpoint:
    """How nodes and people reach the API; an empty mode is chosen by the number of control planes."""

    mode: str = ""
    vip: str = ""
    #: HOST:PORT of a load balancer that somebody else runs
    address: str = ""

    def mode_for(self, control_planes: int) -> str:
        """Return the mode in force."""
        if self.mode:
            return self.mode
        return "haproxy" if control_planes > 1 and self.vip else "none"


@dataclass(frozen=True)
class Pair:
    """From one Kubernetes version on, a program has to be at least of another version."""

    program: str
    kubernetes: str
    at_least: str
    reason: str


PAIRS = (
    Pair("containerd", "1.37", "2.0", "its kubelet asks the runtime for what older ones cannot tell"),
    Pair("containerd", "1.26", "1.6", "its kubelet speaks CRI v1 only"),
)


def version_tuple(text: str) -> tuple[int, int, int]:
    """Read `1.36.4`, `v1.36` and the like; ValueError when it is no version."""
    match = _VERSION.match(str(text).strip())
    if not match:
        raise ValueError(f"{text!r} is no version")
    return int(match.group(1)), int(match.group(2)), int(match.group(3) or 0)


def _one_of(words: t.Iterable[str]) -> str:
    return ", ".join(words)


def check_kubernetes(version: str, minor: str, minors: t.Sequence[str]) -> list[str]:
    """Check the choice of Kubernetes itself."""
    if not _MINOR.fullmatch(minor) or minor not in minors:
        return [
            f"artifacts_kubernetes_minor is {minor!r}, expected one of {_one_of(minors)} (with quotes "
            "in YAML)."
        ]
    try:
        found = version_tuple(version)
    except ValueError:
        return [f"Kubernetes' version is {version!r}, expected one such as {minor}.0 (artifacts_pins)."]
    if found[:2] != version_tuple(minor)[:2]:
        return [
            f"Kubernetes {version} (artifacts_pins) does not belong to artifacts_kubernetes_minor {minor}; "
            f"set the minor to {found[0]}.{found[1]}, or pin a {minor} version."
        ]
    return []


def check_pairs(kubernetes: str, programs: t.Mapping[str, str]) -> Checked:
    """Check versions of programs against the Kubernetes version; those that are not known are left out."""
    checked = Checked()
    try:
        wanted = version_tuple(kubernetes)
    except ValueError:
        return checked  # said already
    for program, text in programs.items():
        if not text:
            continue
        try:
            found = version_tuple(text)
        except ValueError:
            checked.problems.append(f"{program}'s version is {text!r}, expected one such as 1.2.3.")
            continue
        checked.problems += [
            f"Kubernetes {kubernetes} does not work with {program} {text}: from {pair.kubernetes} on "
            f"{pair.reason}; take {program} {pair.at_least} or newer, or an older Kubernetes."
            for pair in PAIRS
            if pair.program == program
            and wanted >= version_tuple(pair.kubernetes)
            and found < version_tuple(pair.at_least)
        ]
        if program == "kubectl" and abs(found[1] - wanted[1]) > 1:
            checked.warnings.append(
                f"kubectl {text} beside Kubernetes {kubernetes}: kubectl is made for one minor more or less."
            )
        if program == "crio" and found[:2] != wanted[:2]:
            checked.warnings.append(
                f"CRI-O {text} beside Kubernetes {kubernetes}: CRI-O is released with each minor and "
                "tested with its own."
            )
    return checked


def check_runtimes(runtimes: t.Mapping[str, str]) -> list[str]:
    """Check which container runtime each machine is to have."""
    return [
        f"{host}: container_runtime is {runtime!r}, expected one of {_one_of(RUNTIMES)}."
        for host, runtime in runtimes.items()
        if runtime not in RUNTIMES
    ]


def check_pod_network(plugin: str) -> list[str]:
    """Check which pod network is to be there."""
    if plugin in POD_NETWORKS:
        return []
    return [f"cni_plugin is {plugin!r}, expected one of {_one_of(POD_NETWORKS)}."]


def check_endpoint(
    endpoint: Endpoint, control_planes: t.Sequence[str], addresses: t.Mapping[str, str]
) -> list[str]:
    """Check that there is one way to the API that outlives each control plane, where there are several."""
    mode = endpoint.mode_for(len(control_planes))
    if mode not in ENDPOINT_MODES:
        return [f"control_plane_endpoint_mode is {mode!r}, expected one of {_one_of(ENDPOINT_MODES)}."]
    problems = []
    if mode == "none" and len(control_planes) > 1:
        problems.append(
            f"{len(control_planes)} control planes, and nothing in front of them: set "
            "control_plane_endpoint_vip to a free address of their network (HAProxy and keepalived carry it; "
            "with control_plane_endpoint_mode: kube_vip, kube-vip does), or "
            "control_plane_endpoint_mode: external with "
            "kubeadm_init_control_plane_endpoint: HOST:PORT of your own load balancer."
        )
    if mode == "external":
        match = _HOST_PORT.fullmatch(endpoint.address)
        if not match or not 0 < int(match.group(2)) < 65536:
            problems.append(
                "control_plane_endpoint_mode is external, so kubeadm_init_control_plane_endpoint has to be "
                f"HOST:PORT of your load balancer; it is {endpoint.address!r}."
            )
    if mode in WITH_VIP:
        problems += _check_vip(endpoint.vip, mode, addresses)
    return problems


def _check_vip(vip: str, mode: str, addresses: t.Mapping[str, str]) -> list[str]:
    if not vip:
        return [
            f"control_plane_endpoint_mode is {mode}, so control_plane_endpoint_vip has to be a free address "
            "of the control planes' network; it is not set."
        ]
    try:
        ipaddress.ip_address(vip)
    except ValueError:
        return [f"control_plane_endpoint_vip is {vip!r}, expected an address without a prefix length."]
    return [
        f"control_plane_endpoint_vip {vip} is the address of {host} already; take a free one."
        for host, address in addresses.items()
        if address == vip
    ]


def check_required(required: t.Mapping[str, t.Any], reasons: t.Mapping[str, str]) -> list[str]:
    """Name the variables that are empty and must not be."""
    return [
        f"{name} is not set{': ' + reasons[name] if reasons.get(name) else ''}."
        for name, value in required.items()
        if value is None or not str(value).strip()
    ]
