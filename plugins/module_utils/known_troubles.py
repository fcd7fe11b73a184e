# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The table of known troubles: how each is recognised, its cause in a sentence, and what to type.

A weight says how near a trouble is to the root of things: where a disk is full, or no runtime answers, all
else follows from it.
"""

from __future__ import annotations

import re
import typing as t

from .diagnosis import Fact, Facts, Finding, Pattern, diagnose

#: A join that takes longer than that hangs.
HANGING = 150
CLOCK_LIMIT = 5.0
DISK_LIMIT = 90.0
#: Room that VXLAN needs in a packet.
VXLAN = 50
#: Who should listen where.
PORTS = {
    6443: ("kube-apiserver", "haproxy"),
    10250: ("kubelet",),
    2379: ("etcd",),
    2380: ("etcd",),
    10257: ("kube-controller",),
    10259: ("kube-scheduler",),
}
AGAIN = "then run the same command again"


def _reset(host: str) -> str:
    return f"ansible-playbook playbooks/reset.yml --limit {host} -e cluster_reset_confirm=true"


# What is true now


def runtime_silent(facts: Facts) -> Finding | None:
    """Nobody answers at the container runtime's socket."""
    runtime = facts.runtime
    if not runtime.installed or runtime.answers:
        return None
    name = runtime.unit.partition(".")[0]
    return Finding(
        "runtime-silent",
        f"The container runtime does not answer at {runtime.socket}: {runtime.unit} is {runtime.active}.",
        f"On {facts.host}: systemctl restart {name}; journalctl -u {name} says why it stopped; {AGAIN}.",
        runtime.problem,
        weight=90,
    )


def disk_full(facts: Facts) -> Finding | None:
    """A file system is full, or has no inodes left."""
    full = [disk for disk in facts.disks if max(disk.used, disk.inodes) >= DISK_LIMIT]
    if not full:
        return None
    worst = max(full, key=lambda disk: max(disk.used, disk.inodes))
    what = "its files" if worst.inodes > worst.used else "its space"
    figure = max(worst.used, worst.inodes)
    return Finding(
        "disk-full",
        f"{worst.mount} on {facts.host} is full: {figure:.0f} % of {what} are used, and the kubelet ends "
        f"pods when a "
        "disk is full.",
        f"On {facts.host}: crictl rmi --prune; journalctl --vacuum-size=200M; du -xh --max-depth=2 "
        f"{worst.mount} | "
        f"sort -h | tail; {AGAIN}.",
        ", ".join(f"{disk.mount} {disk.used:.0f} % (inodes {disk.inodes:.0f} %)" for disk in full),
        weight=100 if figure >= 98 else 60,
    )


def clock_skew(facts: Facts) -> Finding | None:
    """The clock differs from the controller's, or from the API server's."""
    for other, ahead in (
        ("the API server", facts.ahead_of_api),
        ("the controller", facts.ahead_of_controller),
    ):
        if ahead is not None and abs(ahead) > CLOCK_LIMIT:
            side = "ahead of" if ahead > 0 else "behind"
            return Finding(
                "clock-skew",
                f"The clock of {facts.host} is {abs(ahead):.0f} seconds {side} that of {other}: "
                f"certificates and tokens "
                "are refused as expired or not valid yet.",
                f"On {facts.host}: timedatectl; chronyc makestep, or systemctl restart systemd-timesyncd; "
                f"{AGAIN}.",
                weight=85 if abs(ahead) > 60 else 45,
            )
    return None


def certificates_over(facts: Facts) -> Finding | None:
    """A certificate has ended, or is not valid yet."""
    wrong = [one for one in facts.certificates if one.ends < 0 or one.begins > 0]
    if not wrong:
        return None
    told = ", ".join(f"{one.path} {'has ended' if one.ends < 0 else 'is not valid yet'}" for one in wrong[:5])
    return Finding(
        "certificate-over",
        f"{'A certificate' if len(wrong) == 1 else 'Certificates'} on {facts.host} cannot be used: {told}.",
        "On the control plane: date; kubeadm certs check-expiration; kubeadm certs renew all, and restart "
        "its static "
        f"pods (crictl stop each of them); {AGAIN}.",
        weight=80,
    )


def admin_without_rights(facts: Facts) -> Finding | None:
    """The administrator's kubeconfig is not the administrator's."""
    if facts.admin_allowed is not False:
        return None
    groups = ", ".join(facts.admin_organisations) or "no group"
    return Finding(
        "admin-rbac",
        f"admin.conf on {facts.host} may not do everything: its certificate is of {groups}, and the API "
        f"gives that "
        "no rights of an administrator (O=system:masters, or kubeadm:cluster-admins with its binding).",
        "On that control plane: rm /etc/kubernetes/admin.conf; kubeadm init phase kubeconfig admin; "
        "kubectl --kubeconfig /etc/kubernetes/super-admin.conf create clusterrolebinding "
        "kubeadm:cluster-admins "
        f"--clusterrole=cluster-admin --group=kubeadm:cluster-admins; {AGAIN}.",
        weight=75,
    )


def kubeadm_hangs(facts: Facts) -> Finding | None:
    """A kubeadm has been running for longer than it ever should."""
    hanging = [one for one in facts.kubeadm if one.seconds > HANGING]
    if not hanging:
        return None
    one = max(hanging, key=lambda process: process.seconds)
    word = "join" if " join" in one.command else "init" if " init" in one.command else "run"
    reason = f" {facts.endpoint_problem}." if facts.endpoint_problem else ""
    return Finding(
        f"{word}-hangs",
        f"kubeadm {word} (process {one.pid}) has been running on {facts.host} for {one.seconds:.0f} "
        f"seconds: it hangs."
        f"{reason}",
        f"Run the same command again: it ends that process, clears what it left, and does it anew. On "
        f"{facts.host}, "
        f"/var/log/kubeadm-{word}.log has its last words.",
        one.command,
        weight=70,
    )


def endpoint_out_of_reach(facts: Facts) -> Finding | None:
    """The kubelet cannot reach the API."""
    if not facts.endpoint_problem:
        return None
    return Finding(
        "endpoint-unreachable",
        f"{facts.host} does not reach the API at {facts.node.get('endpoint') or 'its address'}: "
        f"{facts.endpoint_problem}.",
        "See that a control plane is switched on and its API server runs (crictl ps --name kube-apiserver "
        "there), that "
        f"the virtual IP or balancer answers, and that no firewall is between; {AGAIN}.",
        weight=72 if facts.state == "worker" else 50,
    )


def kubelet_restarts(facts: Facts) -> Finding | None:
    """The kubelet is started again and again."""
    configured = facts.node.get("kubelet_config") or facts.state != "none"
    looping = facts.kubelet_active == "activating" or (
        facts.kubelet_restarts >= 3 and not facts.kubelet_healthy
    )
    if not (looping and configured):
        return None
    return Finding(
        "kubelet-crash-loop",
        f"The kubelet on {facts.host} ends as soon as it is started; systemd has started it "
        f"{facts.kubelet_restarts} "
        "times.",
        f"On {facts.host}: journalctl -u kubelet -n 50 has its last words; {AGAIN}.",
        weight=40,
    )


def kubelet_stopped(facts: Facts) -> Finding | None:
    """The kubelet of a node does not run, and nobody tries."""
    if facts.state not in ("control_plane", "worker") or facts.kubelet_active not in ("inactive", "failed"):
        return None
    return Finding(
        "kubelet-stopped",
        f"{facts.host} is a node of the cluster, but its kubelet is {facts.kubelet_active}.",
        f"On {facts.host}: systemctl start kubelet; journalctl -u kubelet -n 50; {AGAIN}.",
        weight=42,
    )


def cgroup_drivers_differ(facts: Facts) -> Finding | None:
    """Kubelet and container runtime make cgroups in different ways."""
    driver, by_systemd = facts.kubelet_cgroup_driver, facts.runtime.systemd_cgroup
    if not driver or by_systemd is None or (driver == "systemd") == by_systemd:
        return None
    other = "systemd" if by_systemd else "cgroupfs"
    name = facts.runtime.unit.partition(".")[0]
    return Finding(
        "cgroup-driver",
        f"The kubelet on {facts.host} makes cgroups by {driver}, {name} by {other}: pods do not start, or "
        f"end when "
        "memory is short.",
        f"Both have to say systemd: run playbooks/prepare.yml, which sets {name}; in "
        f"/var/lib/kubelet/config.yaml "
        f"cgroupDriver: systemd, then systemctl restart kubelet; {AGAIN}.",
        weight=78,
    )


def partly_joined(facts: Facts) -> Finding | None:
    """A join or an initialisation has not come to its end."""
    node = facts.node
    files = [str(name) for name in node.get("files") or []]
    if facts.state == "partial":
        found = ", ".join(files + [str(name) for name in node.get("manifests") or []]) or "certificates"
        return Finding(
            "partial",
            f"{facts.host} has parts of a node and is none: an initialisation or a join was interrupted.",
            "Run the same command again: what our own run left is finished or cleared away. If it refuses, "
            "and nothing "
            f"of it is needed: {_reset(facts.host)}",
            found,
            weight=48,
        )
    if facts.state == "worker" and "bootstrap-kubelet.conf" in files:
        return Finding(
            "partial-join",
            f"The join of {facts.host} has not come to its end: the kubelet still has its bootstrap "
            f"credentials.",
            "Run the same command again: it is finished, or cleared away and done anew.",
            ", ".join(files),
            weight=48,
        )
    if facts.state == "worker" and node.get("member") is False:
        return Finding(
            "not-a-member",
            f"{facts.host} has joined once, but the API does not know a node {node.get('name')}: it was "
            f"deleted there.",
            f"To have it back: systemctl restart kubelet on {facts.host}, and it registers itself. To be "
            f"rid of it: "
            f"{_reset(facts.host)}",
            weight=46,
        )
    return None


def mtu_too_large(facts: Facts) -> Finding | None:
    """The pod network's packets do not fit into the network's."""
    out = facts.mtus.get(facts.uplink)
    if not out:
        return None
    for name, mtu in sorted(facts.mtus.items()):
        if name.startswith(("flannel.", "vxlan.", "cilium_vxlan")) and mtu > out - VXLAN:
            return Finding(
                "mtu",
                f"The packets of the pod network ({name}: {mtu} bytes) do not fit into those of "
                f"{facts.uplink} ({out}, of "
                f"which VXLAN takes {VXLAN}): small answers arrive between nodes, large ones do not.",
                f"Give {facts.uplink} the same MTU on all nodes (a VPN or PPPoE has a smaller one), "
                f"restart the pod "
                f"network's pods, so that they take {out - VXLAN}; {AGAIN}.",
                weight=55,
            )
    return None


def port_taken(facts: Facts) -> Finding | None:
    """Somebody else listens where a part of the cluster wants to."""
    for port, wanted in PORTS.items():
        found = facts.listeners.get(port, "")
        if found and not found.startswith(wanted):
            return Finding(
                "port-taken",
                f"Port {port} of {facts.host}, which is {wanted[0]}'s, is taken by {found}.",
                f"On {facts.host}: ss -lntp sport = :{port}; stop that program or give it another port; "
                f"{AGAIN}.",
                weight=77,
            )
    return None


def swap_in_use(facts: Facts) -> Finding | None:
    """Swap is on, and the kubelet does not start because of it."""
    if not facts.swap or facts.kubelet_healthy or facts.state == "none":
        return None
    return Finding(
        "swap",
        f"Swap is in use on {facts.host} ({', '.join(facts.swap)}), and its kubelet does not run.",
        f"Run playbooks/prepare.yml, which switches it off for good; {AGAIN}.",
        weight=52,
    )


def node_conditions(facts: Facts) -> Finding | None:
    """The node itself says what is wrong."""
    if not facts.conditions:
        return None
    kind, words = sorted(facts.conditions.items(), key=lambda item: item[0] == "not Ready")[0]
    remedies = {
        "DiskPressure": "crictl rmi --prune; journalctl --vacuum-size=200M; df -h",
        "MemoryPressure": "free -m; crictl stats shows who has it",
        "PIDPressure": "ps -e --no-headers | wc -l; ps -eo user= | sort | uniq -c",
    }
    remedy = remedies.get(kind, "journalctl -u kubelet -n 50; crictl ps -a")
    return Finding(
        {"DiskPressure": "disk-pressure"}.get(kind, "node-condition"),
        f"{facts.host} says of itself: {kind}, {words.rstrip('.')}.",
        f"On {facts.host}: {remedy}; {AGAIN}.",
        weight=65 if kind == "DiskPressure" else 35,
    )


def dns_silent(facts: Facts) -> Finding | None:
    """The cluster's DNS does not answer."""
    if not facts.dns_problem:
        return None
    return Finding(
        "dns",
        f"The cluster's DNS does not answer on {facts.host}: {facts.dns_problem}.",
        "kubectl -n kube-system get pods -o wide -l k8s-app=kube-dns: they have to be Running and Ready. "
        "If they are, the "
        "way there is cut: kubectl -n kube-system get pods -l k8s-app=kube-proxy, the pod network's pods, "
        "and UDP port "
        f"8472 (VXLAN) between the nodes; {AGAIN}.",
        weight=30,
    )


def containers_dead(facts: Facts) -> Finding | None:
    """A part of the control plane has ended."""
    if not facts.dead_containers:
        return None
    names = ", ".join(facts.dead_containers)
    return Finding(
        "container-ends",
        f"{names} on {facts.host} {'ends' if len(facts.dead_containers) == 1 else 'end'} again and again.",
        f"The archive has the last words (logs/); on {facts.host}: crictl ps -a; crictl logs --tail 20 "
        f"CONTAINER. Flags "
        f"stand in /etc/kubernetes/manifests; {AGAIN}.",
        weight=38,
    )


KNOWN_FACTS: tuple[Fact, ...] = (
    runtime_silent,
    disk_full,
    clock_skew,
    certificates_over,
    admin_without_rights,
    kubeadm_hangs,
    endpoint_out_of_reach,
    kubelet_restarts,
    kubelet_stopped,
    cgroup_drivers_differ,
    partly_joined,
    mtu_too_large,
    port_taken,
    swap_in_use,
    node_conditions,
    dns_silent,
    containers_dead,
)


# What programs say


def _kubelet_fails(facts: Facts) -> bool:
    return not facts.kubelet_healthy


def _runtime_fails(facts: Facts) -> bool:
    return not facts.runtime.answers


def _p(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE)


PATTERNS: tuple[Pattern, ...] = (
    Pattern(
        "no-space",
        95,
        _p(r"no space left on device"),
        "A file system on {host} is full.",
        f"On {{host}}: df -h; df -i; crictl rmi --prune; journalctl --vacuum-size=200M; {AGAIN}.",
        ("kubeadm*", "journal-*", "kernel"),
        lambda facts: any(max(disk.used, disk.inodes) >= DISK_LIMIT for disk in facts.disks),
    ),
    Pattern(
        "runtime-silent",
        88,
        _p(
            r"(?:validate CRI v1 runtime API for endpoint|dial "
            r"unix)[^\n]*?(?P<socket>/[\w./-]+\.sock)[^\n]*?"
            r"(?:no such file or directory|connection refused)"
        ),
        "The container runtime on {host} does not answer: its socket {socket} is missing, or nobody "
        "listens there.",
        f"On {{host}}: systemctl restart containerd (or crio); journalctl -u containerd says why it "
        f"stopped; {AGAIN}.",
        still=_runtime_fails,
    ),
    Pattern(
        "runtime-without-cri",
        87,
        _p(r"unknown service runtime\.v1\.RuntimeService"),
        "The container runtime on {host} runs with its CRI plugin switched off (as a fresh containerd.io "
        "package has it).",
        f"Run playbooks/prepare.yml: it writes /etc/containerd/config.toml without disabled_plugins; "
        f"{AGAIN}.",
        ("kubeadm*", "journal-*"),
    ),
    Pattern(
        "cgroup-v1",
        76,
        _p(r"kubelet is configured to not run on a host using cgroup v1"),
        "{host} has cgroup v1, which this Kubernetes refuses.",
        "Boot it with cgroup v2 (kernel parameter systemd.unified_cgroup_hierarchy=1; Debian 12 and newer "
        "have it by "
        f"default), or set failCgroupV1: false in the kubelet's configuration; {AGAIN}.",
        still=_kubelet_fails,
    ),
    Pattern(
        "cgroup-driver",
        74,
        _p(
            r"expected cgroupsPath to be of format \\*\"slice:prefix:name\\*\" for systemd cgroups|"
            r"cgroup driver: \\*\"?\w+\\*\"? is different from|misconfiguration: kubelet cgroup driver"
        ),
        "The kubelet on {host} and its container runtime make cgroups in different ways: one by systemd, "
        "one by cgroupfs.",
        "Both have to say systemd: run playbooks/prepare.yml, which sets SystemdCgroup; in "
        "/var/lib/kubelet/config.yaml "
        f"cgroupDriver: systemd, then systemctl restart kubelet; {AGAIN}.",
        ("kubeadm*", "journal-*"),
    ),
    Pattern(
        "swap",
        73,
        _p(r"running with swap on is not supported"),
        "Swap is in use on {host}, and the kubelet refuses it.",
        f"Run playbooks/prepare.yml, which switches it off for good; {AGAIN}.",
        still=_kubelet_fails,
    ),
    Pattern(
        "kubelet-configuration",
        71,
        _p(
            r"failed to load kubelet config file, path: (?P<path>[^\s,]+), error: [^\n]*?"
            r"(?P<reason>no such file or directory|unknown field [^\n\"]*|cannot unmarshal[^\n\"]*|"
            r"(?<!config\.)yaml: "
            r"[^\n\"]*)"
        ),
        "The kubelet on {host} cannot use its configuration {path}: {reason}.",
        f"The file is kubeadm's: {_reset('{host}')} and the same command again writes it anew; or correct "
        f"it, and "
        "systemctl restart kubelet.",
        ("journal-kubelet",),
        lambda facts: not facts.kubelet_healthy and facts.state != "none",
    ),
    Pattern(
        "clock-skew",
        72,
        _p(
            r"certificate has expired or is not yet valid: current time (?P<now>\S+) is (?P<side>before|"
            r"after) (?P<limit>\S+?)"
            r"[\"\\.,]*(?=\s|$)"
        ),
        "A certificate is refused on {host}: it is {now} there, which is {side} {limit}. Either a clock is "
        "wrong, or the "
        "certificate has ended.",
        "Compare the clocks (date on the node and on the control plane; chronyc makestep sets one); if "
        "they are right: "
        f"kubeadm certs check-expiration and kubeadm certs renew all on the control plane; {AGAIN}.",
        ("kubeadm*", "journal-*", "logs/*"),
    ),
    Pattern(
        "port-taken",
        70,
        _p(
            r"\[ERROR Port-(?P<port>\d+)\]: Port \d+ is in use|listen tcp \S*?:(?P<other>\d+): bind: "
            r"address already in use"
        ),
        "Port {port}{other} of {host} is taken by another program.",
        f"On {{host}}: ss -lntp sport = :{{port}}{{other}} names it; stop it or give it another port; "
        f"{AGAIN}. Where it "
        f"is left of an earlier cluster: {_reset('{host}')}",
        ("kubeadm*", "journal-kubelet", "logs/*"),
        _kubelet_fails,
    ),
    Pattern(
        "token",
        66,
        _p(
            r"could not find a JWS signature in the cluster-info ConfigMap for token ID|"
            r"does not yet contain a JWS signature for token ID|"
            r"failed to verify JWS signature"
        ),
        "The token with which {host} wants to join is unknown to the cluster, or its time is over.",
        "Run playbooks/join.yml again: it makes a fresh token for each machine. A token of your own: "
        "kubeadm token create "
        "--print-join-command on the control plane.",
        ("kubeadm*",),
    ),
    Pattern(
        "authority-differs",
        68,
        _p(r"none of the public keys \"(?P<pin>sha256:[0-9a-f]+)\" are pinned"),
        "The control plane that answers {host} belongs to another cluster than expected: its authority is "
        "{pin}.",
        "Two machines have one address, or the cluster was made anew: see who answers at the endpoint "
        f"(kubestead.homelab.kubeadm_facts tells each control plane's ca_pin); {AGAIN}.",
        ("kubeadm*",),
    ),
    Pattern(
        "other-authority",
        62,
        _p(r"x509: certificate signed by unknown authority"),
        "{host} does not know the authority of the server that it speaks to: it has leftovers of another "
        "cluster, or the "
        "cluster was made anew.",
        f"If nothing on {{host}} is needed: {_reset('{host}')}, {AGAIN}. For an image registry: its "
        f"authority belongs "
        "into the runtime's certs.d.",
        ("kubeadm*", "journal-*", "logs/*"),
    ),
    Pattern(
        "endpoint-unreachable",
        58,
        _p(
            r"(?:Get|Post|Put|Patch) \\*\"https://(?P<address>[^/\s\"]+)/[^\n]*?: "
            r"(?P<reason>connection refused|no route to host|i/o timeout|network is unreachable|"
            r"context deadline exceeded)"
        ),
        "{host} does not reach the API at {address}: {reason}.",
        "See that a control plane is switched on and its API server runs (crictl ps --name kube-apiserver "
        "there), that "
        f"the virtual IP or balancer answers, and that no firewall is between; {AGAIN}.",
        ("kubeadm*",),
    ),
    Pattern(
        "node-name-taken",
        64,
        _p(r"a Node with name \"(?P<name>[^\"]+)\" and status \"Ready\" already exists in the cluster"),
        "The cluster already has a node {name} that is well: another machine has that name, or {host} was "
        "installed anew "
        "while its old node is still taken for well.",
        "If the old one is gone: ansible-playbook playbooks/remove_node.yml -e remove_node={name} -e "
        f"remove_node_confirm=true, {AGAIN}; else give this machine another name in the registry.",
        ("kubeadm*",),
    ),
    Pattern(
        "leftovers",
        56,
        _p(r"\[ERROR (?:FileAvailable|DirAvailable)-[^\]]*\]: (?P<path>\S+) (?:already exists|is not empty)"),
        "{host} has leftovers of an earlier cluster: {path}.",
        f"If nothing of it is needed: {_reset('{host}')}, {AGAIN}.",
        ("kubeadm*",),
    ),
    Pattern(
        "kubelet-unhealthy",
        36,
        _p(
            r"The kubelet is not healthy after [\w.]+|kubelet isn't running or healthy|"
            r"failed while waiting for the kubelet to start"
        ),
        "kubeadm waited in vain for the kubelet on {host}.",
        f"On {{host}}: systemctl status kubelet; journalctl -u kubelet -n 50 has its last words; {AGAIN}.",
        ("kubeadm*",),
        _kubelet_fails,
    ),
    Pattern(
        "kernel-settings",
        69,
        _p(r"\[ERROR FileContent-{1,2}proc-sys-(?P<name>[\w-]+)\]"),
        "A setting of the kernel on {host} is not as Kubernetes needs it ({name}).",
        f"Run playbooks/prepare.yml: it loads br_netfilter and sets net.ipv4.ip_forward for good; {AGAIN}.",
        ("kubeadm*",),
    ),
    Pattern(
        "versions",
        67,
        _p(r"this version of kubeadm only supports deploying clusters with the control plane version[^\n]*"),
        "kubeadm on {host} is of another minor than the cluster.",
        f"Set artifacts_kubernetes_minor to the cluster's and run playbooks/prepare.yml; {AGAIN}.",
        ("kubeadm*",),
    ),
    Pattern(
        "admin-rbac",
        63,
        _p(r"User \\*\"kubernetes-admin\\*\" cannot (?P<verb>\w+) resource"),
        "The administrator's kubeconfig has no rights: its certificate is not of O=system:masters, nor of "
        "kubeadm:cluster-admins with its binding.",
        "On the first control plane: rm /etc/kubernetes/admin.conf; kubeadm init phase kubeconfig admin; "
        "kubectl "
        "--kubeconfig /etc/kubernetes/super-admin.conf create clusterrolebinding kubeadm:cluster-admins "
        f"--clusterrole=cluster-admin --group=kubeadm:cluster-admins; {AGAIN}.",
        ("kubeadm*", "api-*"),
        lambda facts: facts.admin_allowed is not True,
    ),
    Pattern(
        "api-server-flag",
        61,
        _p(r"(?:Error: |err=\")(?P<reason>unknown flag: \S+?|invalid argument [^\n]*?)\"?$"),
        "A part of the control plane on {host} does not know what it is told: {reason}.",
        f"Correct the flag in /etc/kubernetes/manifests on {{host}}, or in the settings that it comes "
        f"from; {AGAIN}.",
        ("logs/*",),
    ),
    Pattern(
        "etcd-space",
        59,
        _p(r"mvcc: database space exceeded|etcdserver: NOSPACE|alarm:NOSPACE"),
        "etcd's database has reached its limit, and nothing can be written.",
        "On a control plane: compact and defragment etcd, then disarm its alarm (etcdctl compact, defrag, "
        "alarm disarm); "
        "--quota-backend-bytes in the etcd manifest gives it more.",
        ("kubeadm*", "logs/*", "journal-kubelet"),
    ),
    Pattern(
        "etcd-quorum",
        57,
        _p(r"etcdserver: no leader|etcd cluster is unavailable or misconfigured|lost leader|has no leader"),
        "etcd has no leader: more than half of the control planes are needed, and they do not reach each "
        "other.",
        "Switch the missing control planes on. One that is gone for good: ansible-playbook "
        "playbooks/remove_node.yml -e "
        "remove_node=NAME -e remove_node_confirm=true, as long as a majority lives.",
        ("kubeadm*", "logs/etcd*", "logs/kube-apiserver*"),
        lambda facts: not facts.api_ready,
    ),
    Pattern(
        "image",
        54,
        _p(
            r"(?:failed to pull(?: and unpack)? image|\[ERROR ImagePull\]:[^\n]*?image) "
            r"\\*\"?(?P<image>[\w./:@-]+)[^\n]*?"
            r"(?P<reason>connection refused|no such host|i/o timeout|not found|unauthorized|signed by "
            r"unknown authority|"
            r"no route to host|server gave HTTP response to HTTPS client|toomanyrequests)"
        ),
        "{host} cannot fetch the image {image}: {reason}.",
        "Give a registry that can be reached: artifacts_source and the mirror's address (docs/bundle.md); "
        "crictl pull "
        f"{{image}} on {{host}} tries it; {AGAIN}.",
        ("kubeadm*", "journal-*", "api-*"),
    ),
    Pattern(
        "cni-plugin",
        53,
        _p(r"failed to find plugin \\*\"(?P<plugin>[\w-]+)\\*\" in path \[(?P<path>[^\]]*)\]"),
        "The CNI plugin {plugin} is missing on {host}: the runtime looks for it in {path}.",
        "Run playbooks/prepare.yml (it sets bin_dir to /opt/cni/bin and installs kubernetes-cni) and "
        "playbooks/network.yml "
        f"(the pod network brings its own); {AGAIN}.",
        ("journal-*", "api-*"),
    ),
    Pattern(
        "cni",
        28,
        _p(r"cni plugin not initialized|loadFlannelSubnetEnv failed|NetworkPluginNotReady"),
        "{host} has no pod network yet.",
        "Run playbooks/network.yml; then kubectl get pods -A -o wide shows whether the pod network's pod "
        "runs on {host}.",
        ("journal-kubelet", "api-*"),
        lambda facts: "not Ready" in facts.conditions,
    ),
    Pattern(
        "disk-pressure",
        50,
        _p(
            r"attempting to reclaim (?:ephemeral-storage|inodes)|Eviction manager: (?:must|cannot) evict|"
            r"Eviction manager: pods ranked|Failed to garbage collect required amount of images"
        ),
        "The disk of {host} is nearly full, and its kubelet ends pods.",
        f"On {{host}}: df -h; crictl rmi --prune; journalctl --vacuum-size=200M; {AGAIN}.",
        ("journal-kubelet",),
        lambda facts: "DiskPressure" in facts.conditions,
    ),
    Pattern(
        "memory",
        51,
        _p(r"Out of memory: Killed process \d+ \((?P<who>[^)]+)\)"),
        "Memory has run out on {host}: the kernel ended {who}.",
        f"A control plane wants 2 GB, a worker 1 GB: give it more, or take pods away (kubectl top pods "
        f"-A); {AGAIN}.",
        ("kernel",),
    ),
    Pattern(
        "dns",
        32,
        _p(
            r"lookup (?P<name>[\w.-]+) on (?P<server>\S+?:53): [^\n]*?(?P<reason>no such host|server "
            r"misbehaving|i/o timeout|"
            r"connection refused)"
        ),
        "{host} cannot resolve {name}: its name server {server} says {reason}.",
        "On {host}: cat /etc/resolv.conf; getent hosts {name}. Where there is no name server, give "
        "addresses, or entries in "
        f"/etc/hosts (os_prep); {AGAIN}.",
        ("kubeadm*", "journal-*"),
    ),
    Pattern(
        "dns-loop",
        43,
        _p(r"\[FATAL\] plugin/loop: Loop \(\S+ -> \S+\) detected"),
        "CoreDNS asks itself: /etc/resolv.conf of {host} names a name server on the machine itself.",
        "Let the kubelet take another file: resolvConf: /run/systemd/resolve/resolv.conf in "
        f"kubeadm_init_kubelet_configuration; {AGAIN}.",
        ("logs/coredns*",),
    ),
)


def likely_causes(facts: Facts, texts: t.Mapping[str, str]) -> list[Finding]:
    """Return what is likely wrong, the likeliest first, by the whole table."""
    return diagnose(facts, texts, KNOWN_FACTS, PATTERNS)
