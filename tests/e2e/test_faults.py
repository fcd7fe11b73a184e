# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong while a cluster is made, or afterwards: the plain command again, and it is healthy.

The tests of this file are one story and run in order.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from kubestead.exit_codes import ExitCode
from tests.e2e.cluster_lab import ClusterLab, changes, eventually
from tests.figures import tell

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

CONTROL_PLANE, WORKER = "faults-cp-1", "faults-worker-1"
NODES = {CONTROL_PLANE, WORKER}
RESET_WORKER = ("--limit", WORKER, "-e", "cluster_reset_confirm=true")
PKI = "etc/kubernetes/pki"
NOBODYS = "abcdef.0123456789abcdef"  # a token, well-formed, and known to nobody

# The first play of each phase. A run that is killed there has done all that comes before.
BEFORE_THE_CLUSTER = [
    "Prepare the machines",
    "Install Kubernetes' packages",
    "Ask the machines what is true on them",
]
AFTER_THE_JOIN = ["Bring up the pod network", "Check the cluster"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterLab]:
    one = ClusterLab("e2e-faults", {CONTROL_PLANE: "10.77.0.11"}, {WORKER: "10.77.0.21"})
    with one.standing():
        yield one


def heal(cluster: ClusterLab, what: str) -> None:
    """The plain command; at its end all checks of the cluster are passed."""
    started = time.monotonic()
    outcome = cluster.play()
    seconds = time.monotonic() - started
    assert outcome.code == ExitCode.DONE, outcome.message
    assert cluster.nodes(CONTROL_PLANE) == dict.fromkeys(NODES, True)
    tell(f"{what}: healthy after {seconds:.0f} s, changed {changes(outcome) or 'nothing'}")


def kill_at_play(cluster: ClusterLab, play: str) -> None:
    """The controller is gone where a play begins."""
    with cluster.playing() as run:
        run.until(f"PLAY [{play}]")
        run.kill()


def test_a_full_disk_is_named_before_anything_is_touched(cluster: ClusterLab) -> None:
    cluster.on(CONTROL_PLANE, "mount", "-t", "tmpfs", "-o", "size=16m", "full", "/var/lib/etcd")
    try:
        outcome = cluster.play()
        assert outcome.code == ExitCode.WRONG_INPUT
        assert "/var/lib/etcd has 16 MiB of room" in outcome.message
        assert changes(outcome) == {}
    finally:
        cluster.on(CONTROL_PLANE, "umount", "/var/lib/etcd")


@pytest.mark.parametrize("play", BEFORE_THE_CLUSTER)
def test_the_controller_is_killed_before_there_is_a_cluster(cluster: ClusterLab, play: str) -> None:
    kill_at_play(cluster, play)


def test_the_power_fails_while_certificates_are_written(cluster: ClusterLab) -> None:
    """Controller and control plane go at once, and one file has not come to the disk."""
    disk = cluster.lab.node(CONTROL_PLANE).folder / "upper"
    with cluster.playing() as run:
        assert eventually((disk / PKI / "apiserver.crt").exists, 600, 0.05)
        run.kill()
    cluster.lab.node_cut(CONTROL_PLANE)
    (disk / PKI / "apiserver.crt").write_bytes(b"")
    cluster.lab.node_start(CONTROL_PLANE)


def test_the_controller_is_killed_between_control_plane_and_workers(cluster: ClusterLab) -> None:
    kill_at_play(cluster, "Join the workers")
    assert cluster.nodes(CONTROL_PLANE).keys() == {CONTROL_PLANE}


def test_the_controller_is_killed_in_the_middle_of_a_join(cluster: ClusterLab) -> None:
    with cluster.playing() as run:
        assert eventually(lambda: cluster.runs(WORKER, "kubeadm join"), 300, 0.05)
        run.kill()


@pytest.mark.parametrize("play", AFTER_THE_JOIN)
def test_the_controller_is_killed_when_the_worker_has_joined(cluster: ClusterLab, play: str) -> None:
    kill_at_play(cluster, play)
    assert cluster.nodes(CONTROL_PLANE).keys() == NODES


def test_after_all_of_that_the_plain_command_makes_the_cluster(cluster: ClusterLab) -> None:
    heal(cluster, "controller killed at each phase, power cut in kubeadm init")
    tokens = ["--field-selector", "type=bootstrap.kubernetes.io/token", "-o", "name"]
    assert len(cluster.kubectl(CONTROL_PLANE, "get", "secrets", "-n", "kube-system", *tokens).split()) <= 1, (
        "what a killed join has left ends by itself, and nothing else is left"
    )


def test_containerd_has_stopped(cluster: ClusterLab) -> None:
    for node in NODES:
        cluster.on(node, "systemctl", "stop", "containerd")
    heal(cluster, "containerd stopped on both")


def test_certificates_are_half_written_and_the_control_plane_boots(cluster: ClusterLab) -> None:
    disk = cluster.lab.node(CONTROL_PLANE).folder / "upper"
    cluster.lab.node_cut(CONTROL_PLANE)
    for name in ("apiserver.crt", "etcd/server.key"):
        path = disk / PKI / name
        path.write_bytes(path.read_bytes()[:100])
    (disk / PKI / "apiserver-kubelet-client.key").unlink()
    (disk / "etc/kubernetes/scheduler.conf").write_bytes(b"")
    cluster.lab.node_start(CONTROL_PLANE)
    heal(cluster, "certificates cut short, one lost, and a power cut")


def test_an_authority_that_is_lost_is_named_and_not_made_anew(cluster: ClusterLab) -> None:
    path = f"/{PKI}/ca.crt"
    cluster.on(CONTROL_PLANE, "mv", path, "/root/ca.crt")
    cluster.on(CONTROL_PLANE, "touch", path)
    outcome = cluster.play("control_plane")
    cluster.on(CONTROL_PLANE, "mv", "/root/ca.crt", path)
    assert outcome.code == ExitCode.FAILED
    assert f"{path} cannot be read" in outcome.message
    heal(cluster, "the authority brought back")


def test_somebody_has_begun_a_join_with_a_wrong_token(cluster: ClusterLab) -> None:
    assert cluster.play("reset", RESET_WORKER).code == ExitCode.DONE
    cluster.kubectl(CONTROL_PLANE, "delete", "node", WORKER)
    wrong = ["--token", NOBODYS, "--discovery-token-unsafe-skip-ca-verification"]
    join = ["kubeadm", "join", "10.77.0.11:6443", *wrong, "--ignore-preflight-errors=all"]
    cluster.on(WORKER, "systemd-run", "--unit=wrong-join", *join)
    cluster.on(WORKER, "mkdir", "-p", f"/{PKI}")
    cluster.on(WORKER, "sh", "-c", f"echo token: {NOBODYS} > /etc/kubernetes/bootstrap-kubelet.conf")
    assert cluster.runs(WORKER, NOBODYS), "it tries for five minutes"
    heal(cluster, "a join with a wrong token hangs")
    assert not cluster.runs(WORKER, NOBODYS)


def test_the_worker_loses_its_power_in_the_middle_of_its_join(cluster: ClusterLab) -> None:
    assert cluster.play("reset", RESET_WORKER).code == ExitCode.DONE
    with cluster.playing() as run:
        assert eventually(lambda: cluster.runs(WORKER, "kubeadm join"), 300, 0.05)
        cluster.lab.node_cut(WORKER)
        said = run.finish()
    assert run.process.returncode != 0
    assert WORKER in said.partition("PLAY RECAP")[2]
    cluster.lab.node_start(WORKER)
    heal(cluster, "the worker cut off in its join")


def test_the_disk_of_etcd_is_full(cluster: ClusterLab) -> None:
    """Its data moves to a small disk with room for few files, which somebody fills."""
    steps = [
        "systemctl stop kubelet",
        "crictl ps --quiet --name 'etcd|kube-apiserver' | xargs -r crictl stop",
        "cp -a /var/lib/etcd /root/etcd",
        "mount -t tmpfs -o size=400m,nr_inodes=64,mode=700 small /var/lib/etcd",
        "mv /root/etcd/* /var/lib/etcd/",
        "mkdir /var/lib/etcd/filler",
        "{ for number in $(seq 64); do touch /var/lib/etcd/filler/$number || break; done; }",
        "systemctl start kubelet",
    ]
    cluster.on(CONTROL_PLANE, " && ".join(steps), timeout=180)
    outcome = cluster.play(arguments=["-e", "kubeadm_init_ready_timeout=20"])
    assert outcome.code == ExitCode.FAILED
    assert f"/var/lib/etcd on {CONTROL_PLANE} is full" in outcome.message
    cluster.on(CONTROL_PLANE, "rm", "-r", "/var/lib/etcd/filler")
    heal(cluster, "etcd's disk was full")
