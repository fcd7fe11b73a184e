# SPDX-License-Identifier: GPL-3.0-or-later
"""Three control planes and a worker of which some lose their rights, their data, their power.

The tests of this file are one story and run in order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from kubestead.exit_codes import ExitCode
from tests.e2e.ha_lab import CONTROL_PLANES, FIRST, NODES, SECOND, THIRD, WORKER, HighlyAvailable, changes

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")


@pytest.fixture(scope="module")
def deployed() -> Iterator[HighlyAvailable]:
    one = HighlyAvailable("e2e-ha")
    with one.standing(deployed=True):
        yield one


def test_an_administrator_without_rights_gets_them_back(deployed: HighlyAvailable) -> None:
    deployed.kubectl(SECOND, "delete", "clusterrolebinding", "kubeadm:cluster-admins")
    outcome = deployed.play("control_plane")
    assert outcome.code == ExitCode.DONE, outcome.message
    assert deployed.nodes(SECOND) == dict.fromkeys(NODES, True)
    assert changes(deployed.play("control_plane")) == {}


def test_one_that_comes_back_empty_is_named_and_not_guessed_at(deployed: HighlyAvailable) -> None:
    deployed.on(FIRST, "kubeadm", "reset", "--force", "--skip-phases=remove-etcd-member", timeout=180)
    deployed.on(FIRST, "rm", "-rf", "/etc/kubernetes/api-server", "/etc/kubernetes/kubestead-init.json")
    outcome = deployed.play("control_plane")
    assert outcome.code == ExitCode.FAILED
    assert f"remove_node={FIRST}" in outcome.message
    assert deployed.members(SECOND) == dict.fromkeys(CONTROL_PLANES, True)


def test_it_is_taken_out_when_told_so_and_joins_anew(deployed: HighlyAvailable) -> None:
    told = ["-e", f"remove_node={FIRST}", "-e", "remove_node_confirm=true"]
    outcome = deployed.play("remove_node", told)
    assert outcome.code == ExitCode.DONE, outcome.message
    assert deployed.members(SECOND) == dict.fromkeys([SECOND, THIRD], True)
    assert FIRST not in deployed.nodes(SECOND)
    again = deployed.play("remove_node", told)
    assert again.code == ExitCode.DONE, again.message
    assert changes(again) == {}
    outcome = deployed.play()
    assert outcome.code == ExitCode.DONE, outcome.message
    assert deployed.members(FIRST) == dict.fromkeys(CONTROL_PLANES, True)
    assert deployed.nodes(FIRST) == dict.fromkeys(NODES, True)


def test_a_dead_worker_is_taken_out_and_back_in(deployed: HighlyAvailable) -> None:
    # For most of a minute the API takes it for ready, and its pods never end.
    deployed.crowd_dns(WORKER)
    deployed.lab.node_cut(WORKER)
    outcome = deployed.play("remove_node", ["-e", f"remove_node={WORKER}", "-e", "remove_node_confirm=true"])
    assert outcome.code == ExitCode.DONE, outcome.message
    assert WORKER not in deployed.nodes(SECOND)
    deployed.lab.node_start(WORKER)
    outcome = deployed.play()
    assert outcome.code == ExitCode.DONE, outcome.message
    assert deployed.nodes(SECOND) == dict.fromkeys(NODES, True)
