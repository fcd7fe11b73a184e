# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a machine is: the words of the registry and the record that the rest of Kubestead works with."""

from __future__ import annotations

import copy
import typing as t
from dataclasses import dataclass, field, fields

CONTROL_PLANE = "control-plane"
WORKER = "worker"
COMPUTE = "compute"

ROLES: t.Tuple[str, ...] = (CONTROL_PLANE, WORKER, COMPUTE)
CLUSTER_ROLES: t.FrozenSet[str] = frozenset({CONTROL_PLANE, WORKER})  # `compute` never joins a cluster
ARCHITECTURES: t.Tuple[str, ...] = ("amd64", "arm64")
ARCHITECTURE_ALIASES: t.Mapping[str, str] = {"x86_64": "amd64", "aarch64": "arm64"}
FEATURES: t.Tuple[str, ...] = ("kubernetes", "gpu", "nfs", "storage", "compute", "inference", "monitoring")
OPERATING_SYSTEMS: t.Tuple[str, ...] = (
    "debian-12",
    "debian-13",
    "ubuntu-22.04",
    "ubuntu-24.04",
    "rocky-10",
    "rhel-10",
)
# Out of support, but written in the registries of existing users: read as their successor, with a warning.
OPERATING_SYSTEM_SUCCESSORS: t.Mapping[str, str] = {"ubuntu-20.04": "ubuntu-24.04"}
DISTRIBUTIONS: t.Tuple[str, ...] = ("kubeadm", "rke2", "k3s")
DEFAULT_CLUSTER = "homelab"
DEFAULT_DISTRIBUTION = "kubeadm"
# Where a cluster's control planes all run this system and nobody names a distribution.
DISTRIBUTION_BY_OS: t.Mapping[str, str] = {"rhel-10": "rke2"}
FIRMWARES: t.Tuple[str, ...] = ("bios", "uefi")
INSTALL_METHODS: t.Tuple[str, ...] = ("image", "installer")
BMC_TYPES: t.Tuple[str, ...] = ("redfish", "ipmi", "wol")
TAINT_EFFECTS: t.Tuple[str, ...] = ("NoSchedule", "PreferNoSchedule", "NoExecute")


@dataclass(frozen=True)
class Machine:
    """One machine of the registry, checked and in normal form. Its mappings are to be read, not changed."""

    mac: str
    hostname: str
    role: str
    architecture: str
    features: t.Tuple[str, ...] = ()
    ip: t.Optional[str] = None
    specs: t.Mapping[str, t.Any] = field(default_factory=dict)
    os: t.Optional[str] = None
    cluster: str = DEFAULT_CLUSTER
    distribution: str = DEFAULT_DISTRIBUTION
    labels: t.Mapping[str, str] = field(default_factory=dict)
    taints: t.Tuple[t.Mapping[str, str], ...] = ()
    firmware: t.Optional[str] = None
    disk: t.Optional[str] = None
    install_method: t.Optional[str] = None
    gpu_pci_address: t.Optional[str] = None
    proxmox: t.Mapping[str, t.Any] = field(default_factory=dict)
    bmc: t.Mapping[str, t.Any] = field(default_factory=dict)
    locked: bool = False
    extra: t.Mapping[str, t.Any] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash(self.mac)

    @property
    def joins_cluster(self) -> bool:
        """Whether this machine is, or will be, a node of a Kubernetes cluster."""
        return self.role in CLUSTER_ROLES

    def as_dict(self) -> t.Dict[str, t.Any]:
        """The machine as plain data of its own: tuples as lists, keys without a value left out."""
        values: t.Dict[str, t.Any] = {}
        for name in FIELDS:
            value = getattr(self, name)
            if value is not None:
                values[name] = list(value) if isinstance(value, tuple) else value
        values.update({key: value for key, value in self.extra.items() if key not in values})
        return copy.deepcopy(values)


FIELDS: t.Tuple[str, ...] = tuple(item.name for item in fields(Machine) if item.name != "extra")
KEYS: t.Tuple[str, ...] = tuple(name for name in FIELDS if name != "mac")
REQUIRED_KEYS: t.Tuple[str, ...] = ("hostname", "role", "architecture")
