# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Decide what has to be done on a node so that it is a control plane, the first or another, or a worker.

One rule stands above all: what may hold a cluster's data is never removed, and when two readings are possible
the answer is to refuse, in words that say what to type. Only what our own unfinished run left is cleared
away.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .etcd import EtcdMember
from .node_state import NodeState

NOTHING = "nothing"
START = "start"
RESUME = "resume"
INITIALISE = "initialise"
CLEAN_AND_INITIALISE = "clean_and_initialise"
FINISH = "finish"
JOIN = "join"
CLEAN_AND_JOIN = "clean_and_join"
REFUSE = "refuse"


@dataclass(frozen=True)
class Decision:
    """What to do, and why; for a refusal `reason` is the whole message."""

    action: str
    reason: str = ""


@dataclass(frozen=True)
class Other:
    """Another machine of the cluster, as far as it is known."""

    host: str
    state: str
    pin: str = ""
    endpoint: str = ""
    etcd_data: bool = False

    @classmethod
    def of(cls, host: str, facts: t.Mapping[str, t.Any]) -> Other:
        """Take what matters from the facts of `host`."""
        return cls(
            host=host,
            state=str(facts.get("state", "none")),
            pin=str(facts.get("kubelet_ca_pin") or facts.get("ca_pin") or ""),
            endpoint=str(facts.get("endpoint", "")),
            etcd_data=bool(facts.get("etcd_data")),
        )

    @property
    def belongs(self) -> bool:
        """Whether the machine is, or may be, part of a cluster."""
        return self.state in ("control_plane", "worker") or self.etcd_data

    def describe(self) -> str:
        """Say which cluster it belongs to."""
        what = {"control_plane": "a control plane", "worker": "a worker"}.get(self.state, "with etcd data")
        return f"{self.host} ({what}{f' of {self.endpoint}' if self.endpoint else ''})"


def how_to_reset(host: str) -> str:
    """Return the command that takes Kubernetes off one host."""
    return f"ansible-playbook playbooks/reset.yml --limit {host} -e cluster_reset_confirm=true"


def found_on(node: NodeState) -> str:
    """List what is on a node that is neither clean nor whole."""
    parts = [f"/etc/kubernetes/{name}" for name in node.files]
    parts += [f"/etc/kubernetes/manifests/{name}" for name in node.manifests]
    if node.certificates:
        parts.append(f"/etc/kubernetes/pki ({len(node.certificates)} files)")
    if node.etcd_data:
        parts.append("/var/lib/etcd/member")
    return ", ".join(parts) or "nothing"


def plan_init(
    host: str, node: NodeState, others: t.Sequence[Other] = (), unknown: t.Sequence[str] = ()
) -> Decision:
    """Decide for the first control plane. `unknown` are control planes that could not be asked."""
    if node.state == "control_plane":
        return _plan_existing(node)
    return _plan_incomplete(host, node) or _never_two(host, others, unknown) or _plan_new(node)


def _plan_new(node: NodeState) -> Decision:
    if node.state == "partial":
        return Decision(
            CLEAN_AND_INITIALISE, "an initialisation of ours was interrupted before there was any data"
        )
    return Decision(INITIALISE, "there is no cluster yet")


def _plan_incomplete(host: str, node: NodeState) -> Decision | None:
    """Decide where there is more than nothing and less than a control plane; None: a new one may be made."""
    if node.state == "worker":
        return Decision(
            REFUSE,
            f"{host} is to be the first control plane, but it is a worker of the cluster at {node.endpoint}. "
            f"If that is no longer wanted: {how_to_reset(host)}",
        )
    if node.etcd_data:
        return _plan_with_data(host, node)
    if node.state == "partial" and node.initialisation != "begun":
        lost = (
            "Its cluster was complete once, so its etcd data is lost: restore it from a backup into "
            "/var/lib/etcd. "
            if node.initialisation == "done"
            else "They are not from an unfinished run of ours. "
        )
        return Decision(
            REFUSE,
            f"{host} has parts of a control plane and no etcd data: {found_on(node)}. {lost}If nothing of it "
            f"is needed: {how_to_reset(host)}",
        )
    return None


def _plan_existing(node: NodeState) -> Decision:
    if node.initialisation == "begun":
        return Decision(RESUME, "an initialisation of ours was interrupted")
    if not node.api_ready or node.kubelet.active != "active":
        return Decision(START, "the cluster's data is here, but it is not running")
    return Decision(NOTHING, "the cluster is running")


def _plan_with_data(host: str, node: NodeState) -> Decision:
    if node.initialisation == "begun" and "ca.crt" in node.certificates and "ca.key" in node.certificates:
        return Decision(RESUME, "an initialisation of ours was interrupted")
    return Decision(
        REFUSE,
        f"{host} has etcd data (/var/lib/etcd/member) but is no whole control plane; found: "
        f"{found_on(node)}. This may be all that is left of a cluster, so it is not touched. Restore "
        f"/etc/kubernetes from a backup, or, if nothing of it is needed: {how_to_reset(host)}",
    )


def _never_two(host: str, others: t.Sequence[Other], unknown: t.Sequence[str]) -> Decision | None:
    members = [other for other in others if other.belongs]
    if members:
        return Decision(
            REFUSE,
            f"{host} has no cluster, but these machines already belong to one: "
            f"{', '.join(other.describe() for other in members)}. A second cluster is never made. If that "
            "cluster is wanted, bring its control plane back (it is to be the first of group control_plane); "
            f"if it is not: {how_to_reset(','.join(other.host for other in members))}",
        )
    if unknown:
        return Decision(
            REFUSE,
            f"{host} has no cluster, and whether one is on {', '.join(unknown)} could not be asked. A "
            "cluster is only made when no control plane has one: run without --limit, with all control "
            "planes switched on.",
        )
    return None


def plan_join(host: str, name: str, node: NodeState, cluster: t.Mapping[str, t.Any]) -> Decision:
    """Decide for a worker that is to be `name` in `cluster`.

    `cluster` has the cluster's `ca_pin`, its `endpoint` and the `nodes` that the API knows (name, ready).
    """
    pin = str(cluster.get("ca_pin", ""))
    known = {str(member.get("name")): member for member in cluster.get("nodes", [])}
    if node.state in ("control_plane", "partial") and (node.etcd_data or node.manifests):
        return Decision(
            REFUSE,
            f"{host} is to be a worker, but parts of a control plane are on it: {found_on(node)}. If nothing "
            f"of it is needed: {how_to_reset(host)}",
        )
    if "kubelet.conf" in node.files:
        return _plan_joined(host, name, node, pin, known)
    leftovers = node.state != "none" or node.certificates or node.kubelet_config
    if leftovers:
        return Decision(CLEAN_AND_JOIN, f"an interrupted join left {found_on(node)}")
    return Decision(JOIN, "it has not joined yet")


def _plan_joined(
    host: str, name: str, node: NodeState, pin: str, known: t.Mapping[str, t.Mapping[str, t.Any]]
) -> Decision:
    if node.kubelet_ca_pin and node.kubelet_ca_pin != pin:
        return Decision(
            REFUSE,
            f"{host} belongs to another cluster: {node.endpoint}, authority {node.kubelet_ca_pin}; this one "
            f"has {pin}. If it is to leave that cluster: {how_to_reset(host)}",
        )
    if not node.kubelet_ca_pin or not node.name:
        return Decision(CLEAN_AND_JOIN, "an interrupted join left a kubelet.conf that cannot be read")
    if node.name != name:
        return Decision(
            REFUSE,
            f"{host} is in the cluster as node {node.name}, expected {name}. Drain and delete that node, "
            f"then: {how_to_reset(host)}",
        )
    return _plan_member(node, known)


def _plan_member(node: NodeState, known: t.Container[str]) -> Decision:
    if node.name not in known:
        return Decision(START, "it has joined, but the API does not know it")
    if node.kubelet.active != "active":
        return Decision(START, "it has joined, but its kubelet is not running")
    if "bootstrap-kubelet.conf" in node.files:
        return Decision(FINISH, "an interrupted join has all but its last step")
    return Decision(NOTHING, "it is a node of the cluster")


def how_to_remove(name: str) -> str:
    """Return the command that takes a node out of its cluster, with its etcd member."""
    return f"ansible-playbook playbooks/remove_node.yml -e remove_node={name} -e remove_node_confirm=true"


def own_member(
    name: str, addresses: t.Container[str], members: t.Sequence[EtcdMember] | None
) -> EtcdMember | None:
    """Return the etcd member of the control plane `name`, if there is one."""
    return next((member for member in members or () if member.is_of(name, addresses)), None)


def plan_join_control_plane(
    host: str,
    name: str,
    node: NodeState,
    cluster: t.Mapping[str, t.Any],
    addresses: t.Container[str] = (),
) -> Decision:
    """Decide for a further control plane that is to be `name`, with these addresses.

    `cluster` is that of `plan_join`, and has the members of `etcd` (None: it stands elsewhere). What an
    interrupted join of ours left is cleared away only as long as it has no vote in etcd.
    """
    pin = str(cluster.get("ca_pin", ""))
    known = {str(member.get("name")): member for member in cluster.get("nodes", [])}
    members = t.cast("t.Sequence[EtcdMember] | None", cluster.get("etcd"))
    member = own_member(name, addresses, members)
    found_pin = node.kubelet_ca_pin or (node.ca_pin if node.etcd_data else "")
    if found_pin and found_pin != pin:
        return Decision(
            REFUSE,
            f"{host} belongs to another cluster: {node.endpoint or found_on(node)}, authority {found_pin}; "
            f"this one has {pin}. A second cluster is never mixed with it. If it is to leave that cluster: "
            f"{how_to_reset(host)}",
        )
    if node.state == "worker":
        return Decision(
            REFUSE,
            f"{host} is to be a control plane, but it is a worker of this cluster. Take it out first: "
            f"{how_to_remove(node.name)}, then: {how_to_reset(host)}",
        )
    voter = member is not None and bool(member.name) and not member.learner
    if node.state == "control_plane" and (voter or members is None):
        if node.name != name:
            return Decision(
                REFUSE,
                f"{host} is in the cluster as node {node.name}, expected {name}. Take it out first: "
                f"{how_to_remove(node.name)}",
            )
        return _plan_control_plane(node, known)
    return _plan_unfinished(host, name, node, member)


def _plan_control_plane(node: NodeState, known: t.Mapping[str, t.Mapping[str, t.Any]]) -> Decision:
    if node.name not in known:
        return Decision(START, "it is a control plane, but the API does not know its node")
    if node.kubelet.active != "active" or not node.api_ready:
        return Decision(START, "it is a control plane, but it is not running")
    if node.joining == "begun" or not known[node.name].get("control_plane", True):
        return Decision(FINISH, "an interrupted join has all but its last step")
    return Decision(NOTHING, "it is a control plane of the cluster")


def _plan_unfinished(host: str, name: str, node: NodeState, member: EtcdMember | None) -> Decision:
    """Decide for a machine that is no whole control plane with a vote."""
    ours = node.joining == "begun"
    if ours and (member is None or member.learner or not member.name):
        return Decision(CLEAN_AND_JOIN, f"an interrupted join left {found_on(node)}")
    if member is not None:
        return Decision(
            REFUSE,
            f"{host} was a control plane of this cluster, and now lacks what it had: the cluster's etcd "
            f"still has the member {member.describe()}, on the machine is {found_on(node)}. If what it had "
            f"is gone for good, take the member out: {how_to_remove(name)}; then the same command again "
            "joins it anew.",
        )
    if node.etcd_data or node.manifests:
        return Decision(
            REFUSE,
            f"{host} has parts of a control plane ({found_on(node)}), but the cluster's etcd has no such "
            "member, and they are not from an unfinished run of ours. If nothing of it is needed: "
            f"{how_to_reset(host)}",
        )
    if node.state != "none" or node.kubelet_config:
        return Decision(CLEAN_AND_JOIN, f"an interrupted join left {found_on(node)}")
    return Decision(JOIN, "it has not joined yet")
