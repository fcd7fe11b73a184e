# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a machine of the registry is in an inventory: the groups that it belongs to, its variables."""

from __future__ import annotations

import ipaddress
import typing as t

from .machine import CONTROL_PLANE, DISTRIBUTIONS, FEATURES, FIELDS, ROLES, Machine

KUBEADM = "kubeadm"
# Kubespray's own names; `k8s_cluster` is the parent of both kinds of nodes.
KUBESPRAY_CONTROL_PLANE, KUBESPRAY_NODE, KUBESPRAY_ETCD = "kube_control_plane", "kube_node", "etcd"
KUBESPRAY_CLUSTER = "k8s_cluster"
KUBESPRAY_CHILDREN = (KUBESPRAY_CONTROL_PLANE, KUBESPRAY_NODE)

# These are there for every machine, so that a play can use them without asking first.
_ALWAYS = frozenset({"features", "specs", "labels", "taints", "locked"})


def group_name(prefix: str, name: str) -> str:
    """The group of what is called `name`, as Ansible spells its groups."""
    return f"{prefix}_{name}".replace("-", "_").replace(".", "_")


#: Groups by role, distribution and feature are there even when nobody is in them.
STANDARD_GROUPS: t.Tuple[str, ...] = (
    *(role.replace("-", "_") for role in ROLES),
    *DISTRIBUTIONS,
    *(group_name("feature", feature) for feature in FEATURES),
)


def groups_of(machine: Machine) -> t.List[str]:
    """The names of the groups that a machine belongs to."""
    groups = [
        machine.role.replace("-", "_"),
        group_name("cluster", machine.cluster),
        group_name("arch", machine.architecture),
    ]
    groups.extend(group_name("feature", feature) for feature in machine.features)
    if machine.os:
        groups.append(group_name("os", machine.os))
    if machine.joins_cluster:
        groups.append(machine.distribution)
    return groups


def record_of(machine: Machine, guard: t.Callable[[t.Any], t.Any]) -> t.Dict[str, t.Any]:
    """A machine's entry in normal form, without keys that have no value, but with those that all have.

    guard: makes of each value what Ansible may be given.
    """
    record: t.Dict[str, t.Any] = {}
    for name in FIELDS:
        value = getattr(machine, name)
        if value or name in _ALWAYS:
            record[name] = guard(value)
    for key, value in machine.extra.items():
        if key not in FIELDS:
            record[key] = guard(value)
    return record


def variables_of(
    machine: Machine, record: t.Dict[str, t.Any], address: t.Optional[str] = None
) -> t.Dict[str, t.Any]:
    """The host variables of a machine, of its record; `address` is for one without `ip`."""
    variables = {
        f"machine_{key}": value
        for key, value in record.items()
        if key != "hostname" and key.isascii() and key.isidentifier()
    }
    variables["machine"] = record
    if machine.ip or address:
        variables["ansible_host"] = machine.ip or address
    return variables


def kubespray_clusters(machines: t.Iterable[Machine]) -> t.List[str]:
    """The clusters that Kubespray could deploy: those by kubeadm, in the order of the registry."""
    return list(dict.fromkeys(one.cluster for one in machines if _by_kubeadm(one)))


def kubespray_groups_of(machine: Machine, cluster: str) -> t.Tuple[str, ...]:
    """Kubespray's groups of a machine: none when it belongs to another cluster, or to none."""
    if machine.cluster != cluster or not _by_kubeadm(machine):
        return ()
    if machine.role == CONTROL_PLANE:
        return (KUBESPRAY_CONTROL_PLANE, KUBESPRAY_ETCD)
    return (KUBESPRAY_NODE,)


def kubespray_variables(
    machine: Machine, record: t.Mapping[str, t.Any], address: t.Optional[str] = None
) -> t.Dict[str, t.Any]:
    """What Kubespray reads of a host, under its names."""
    variables: t.Dict[str, t.Any] = {}
    own = machine.ip or address
    if own:
        family = "6" if ipaddress.ip_address(own).version == 6 else ""
        variables.update({f"ip{family}": own, f"access_ip{family}": own})
    if machine.role == CONTROL_PLANE:
        # Else Kubespray numbers the members, and a machine removed renumbers those behind it.
        variables["etcd_member_name"] = machine.hostname
    if machine.labels:
        variables["node_labels"] = record["labels"]
    if machine.taints:
        variables["node_taints"] = [_taint(one) for one in machine.taints]
    return variables


def _by_kubeadm(machine: Machine) -> bool:
    return machine.joins_cluster and machine.distribution == KUBEADM


def _taint(taint: t.Mapping[str, str]) -> str:
    return f"{taint['key']}={taint['value']}:{taint['effect']}"
