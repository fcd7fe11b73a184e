# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the settings of a cluster against each other: versions, words, what must not be empty."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from .address_ranges import Checked

POD_NETWORKS = ("flannel", "calico", "cilium")
RUNTIMES = ("containerd", "crio")

_MINOR = re.compile(r"1\.\d+")
_VERSION = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?")


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


def check_required(required: t.Mapping[str, t.Any], reasons: t.Mapping[str, str]) -> list[str]:
    """Name the variables that are empty and must not be."""
    return [
        f"{name} is not set{': ' + reasons[name] if reasons.get(name) else ''}."
        for name, value in required.items()
        if value is None or not str(value).strip()
    ]
