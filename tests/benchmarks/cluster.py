# SPDX-License-Identifier: GPL-3.0-or-later
"""What a cluster costs, beside kubeadm typed by hand: `python -m tests.benchmarks.cluster [NODES…]`, as root.

Nodes of a lab of its own, one of them the control plane, two by default. Nothing else should run on this
computer. Our deployment from fresh machines, and again with nothing to do. With two nodes then, after a
reset, with packages and images where they are: a script of `kubeadm init` and `kubeadm join`; and after
another reset our two phases that do the same.

Ends with 1 where ours takes more than 1.3 times as long as the script, or a run with nothing to do changes
something or takes more than 25 round trips a host. Other numbers of nodes (3 6 9 12) are measured from fresh
machines, as far as the kernel has room for them.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from kubestead.deploy import Outcome
from kubestead.exit_codes import ExitCode
from lab import limits
from tests.e2e.cluster_lab import ClusterLab, changes, trips

HIGHEST_RATIO = 1.3
MOST_TRIPS = 25
CONTROL_PLANE = "cp-1"
INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
#: inotify instances of a control plane and of a worker, as they were counted
CONTROL_PLANE_TAKES, WORKER_TAKES = 32, 18
# What our deployment was given, put where a reset does not come.
KEEP = """set -e
mkdir -p /root/kept
cp -r /etc/kubernetes/kubeadm-config.yaml /etc/kubernetes/api-server /root/kept/
"""
BY_HAND = """set -e
mkdir -p /etc/kubernetes
cp -r /root/kept/api-server /etc/kubernetes/
kubeadm init --config /root/kept/kubeadm-config.yaml --skip-token-print >/root/kept/init.log 2>&1
kubeadm token create --print-join-command 2>/dev/null
"""


def cluster_lab(nodes: int) -> ClusterLab:
    """A control plane and workers."""
    workers = {f"worker-{number}": f"10.77.0.{20 + number}" for number in range(1, nodes)}
    return ClusterLab("cost", {CONTROL_PLANE: "10.77.0.11"}, workers)


def timed(action: Callable[[], Outcome]) -> tuple[Outcome, float]:
    """Do it; it has to succeed."""
    started = time.monotonic()
    outcome = action()
    seconds = time.monotonic() - started
    if outcome.code != ExitCode.DONE:
        sys.exit(outcome.message)
    return outcome, seconds


def phase_seconds(outcome: Outcome, *names: str) -> float:
    """How long these phases of a run took."""
    return sum(float(phase["seconds"]) for phase in outcome.summary["phases"] if phase["name"] in names)


def by_hand(lab: ClusterLab) -> tuple[float, float]:
    """The seconds of `kubeadm init`, and of `kubeadm join` on all workers at once."""
    started = time.monotonic()
    script = f"sh -c {shlex.quote(BY_HAND)}"
    join = lab.on(CONTROL_PLANE, script, timeout=600).strip().splitlines()[-1]
    made = time.monotonic()
    more = " --ignore-preflight-errors=SystemVerification"
    joining = [
        subprocess.Popen(
            lab.lab.ssh_argv(name, [join + more]), stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL
        )
        for name in lab.workers
    ]
    if any(process.wait() for process in joining):
        sys.exit("kubeadm join failed")
    return made - started, time.monotonic() - made


def quietly(lab: ClusterLab, playbook: str = "deploy", *arguments: str) -> tuple[Outcome, float]:
    """One of our playbooks, its output in a file."""
    with (lab.lab.folder / "output.log").open("a") as output:
        return timed(lambda: lab.play(playbook, arguments, output))


def reset(lab: ClusterLab) -> None:
    """Take the cluster apart."""
    quietly(lab, "reset", "-e", "cluster_reset_confirm=true")


def fresh_and_again(lab: ClusterLab, nodes: int) -> bool:
    """From fresh machines, and with nothing to do; say whether the second one kept its limits."""
    fresh, seconds = quietly(lab)
    told = {phase["name"]: phase["seconds"] for phase in fresh.summary["phases"]}
    print(f"{nodes:2} nodes, fresh              {seconds:6.1f} s  {json.dumps(told)}")
    again, seconds = quietly(lab)
    most = max(trips(again).values())
    print(f"{nodes:2} nodes, nothing to do      {seconds:6.1f} s  at most {most} round trips a host")
    if changes(again):
        print(f"it changed {changes(again)}")
    return not changes(again) and most <= MOST_TRIPS


def beside_kubeadm(lab: ClusterLab) -> bool:
    """The same commands by hand and by us; say whether we kept the limit."""
    lab.on(CONTROL_PLANE, f"sh -c {shlex.quote(KEEP)}")
    reset(lab)
    init, join = by_hand(lab)
    print(f"by hand: kubeadm init       {init:6.1f} s")
    print(f"by hand: kubeadm join       {join:6.1f} s")
    reset(lab)
    ours = 0.0
    for playbook in ("control_plane", "join"):
        outcome, _ = quietly(lab, playbook)
        spent = phase_seconds(outcome, playbook)
        ours += spent
        print(f"ours: {playbook:22}{spent:6.1f} s")
    ratio = ours / (init + join)
    print(f"ratio                       {ratio:6.2f}")
    return ratio <= HIGHEST_RATIO


def room_for(nodes: int) -> bool:
    """Whether the kernel has room; said when it has not."""
    needed, limit = CONTROL_PLANE_TAKES + (nodes - 1) * WORKER_TAKES, int(INSTANCES.read_text())
    used = limits.in_use()
    if used + needed <= limit:
        return True
    print(
        f"{nodes:2} nodes: not measured. They take about {needed} inotify instances, and of this kernel's "
        f"{limit} {used} are in use (fs.inotify.max_user_instances)."
    )
    return False


def main() -> None:
    """Measure and print."""
    kept = True
    for nodes in [int(word) for word in sys.argv[1:]] or [2]:
        if not room_for(nodes):
            continue
        lab = cluster_lab(nodes)
        lab.down()
        try:
            lab.up()
            kept = fresh_and_again(lab, nodes) and kept
            if nodes == 2:
                kept = beside_kubeadm(lab) and kept
        finally:
            lab.down()
    sys.exit(not kept)


if __name__ == "__main__":
    main()
