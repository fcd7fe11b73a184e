# SPDX-License-Identifier: GPL-3.0-or-later
"""Deployed, verified, found to need nothing, taken apart: again and again on the same machines.

KUBESTEAD_CYCLES times; `./test.sh cycle 100` is what the project promises.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from kubestead.exit_codes import ExitCode
from tests.e2e.cluster_lab import ClusterLab, changes, trips
from tests.figures import tell

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

CYCLES = int(os.environ.get("KUBESTEAD_CYCLES", "5"))
CONTROL_PLANE, WORKER = "cycle-cp-1", "cycle-worker-1"
NODES = {CONTROL_PLANE, WORKER}
RESET = ("-e", "cluster_reset_confirm=true")
MOST_TRIPS = 25


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterLab]:
    one = ClusterLab("e2e-cycle", {CONTROL_PLANE: "10.77.0.11"}, {WORKER: "10.77.0.21"})
    with one.standing():
        yield one


def problem(cluster: ClusterLab, step: str) -> str:
    """Do one step of a cycle; say what was not as it has to be."""
    outcome = cluster.play("reset", RESET) if step == "reset" else cluster.play()
    if outcome.code != ExitCode.DONE:
        return outcome.message
    if step == "reset":
        here = ["test", "!", "-e", "/etc/kubernetes/admin.conf", "-a", "!", "-e", "/var/lib/etcd/member"]
        left = [node for node in sorted(NODES) if cluster.lab.ssh(node, here).returncode]
        return f"the cluster's files are still on {', '.join(left)}" if left else ""
    if step == "again" and changes(outcome):
        return f"the second run changed {changes(outcome)}"
    if step == "again" and max(trips(outcome).values()) > MOST_TRIPS:
        return f"the second run took {trips(outcome)} round trips"
    nodes = cluster.nodes(CONTROL_PLANE)
    return "" if nodes == dict.fromkeys(NODES, True) else f"its nodes, and whether they are ready: {nodes}"


def test_every_cycle_is_like_the_first(cluster: ClusterLab) -> None:
    for number in range(1, CYCLES + 1):
        seconds = {}
        for step in ("deploy", "again", "reset"):
            started = time.monotonic()
            wrong = problem(cluster, step)
            seconds[step] = time.monotonic() - started
            if wrong:
                cluster.play("diagnose")
                pytest.fail(
                    f"cycle {number} of {CYCLES}, {step}: {wrong}; diagnostics: {cluster.diagnostics}"
                )
        steps = ", ".join(f"{step} {spent:.0f} s" for step, spent in seconds.items())
        tell(f"cycle {number} of {CYCLES}: {sum(seconds.values()):.0f} s ({steps})")
