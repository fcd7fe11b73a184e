# SPDX-License-Identifier: GPL-3.0-or-later
"""Two control planes whose shared address is kube-vip's. One story, in order."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from bundle import places
from kubestead.exit_codes import ExitCode
from tests.e2e.cluster_lab import ClusterLab, changes, eventually
from tests.figures import tell

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

FIRST, SECOND = CONTROL_PLANES = {"vip-cp-1": "10.77.0.11", "vip-cp-2": "10.77.0.12"}
VIRTUAL_ADDRESS = "10.77.0.98"
MANIFEST = "/etc/kubernetes/manifests/kube-vip.yaml"


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterLab]:
    if "kube-vip" not in parts():
        pytest.skip("the bundle has no kube-vip: ./deploy.sh bundle --from modules --with kube-vip")
    variables = {"control_plane_endpoint_vip": VIRTUAL_ADDRESS, "control_plane_endpoint_mode": "kube_vip"}
    one = ClusterLab("e2e-vip", CONTROL_PLANES, {}, **variables)
    with one.standing(deployed=True):
        yield one


def parts() -> set[str]:
    """What the bundle was made of."""
    try:
        manifest = json.loads((places.bundle_dir() / places.MANIFEST).read_text())
    except FileNotFoundError:
        return set()
    return {part["name"] for minor in manifest["minors"].values() for part in minor["parts"]}


def holders(cluster: ClusterLab) -> list[str]:
    """Who has the address."""
    found = []
    for node in CONTROL_PLANES:
        links = json.loads(cluster.on(node, "ip", "-json", "address"))
        addresses = [each.get("local") for link in links for each in link["addr_info"]]
        if VIRTUAL_ADDRESS in addresses:
            found.append(node)
    return found


def test_both_are_reached_by_the_address_and_one_has_it(cluster: ClusterLab) -> None:
    assert len(holders(cluster)) == 1
    for node in CONTROL_PLANES:
        assert f"https://{VIRTUAL_ADDRESS}:6443" in cluster.on(node, "cat", "/etc/kubernetes/admin.conf")
    assert cluster.nodes(SECOND) == dict.fromkeys(CONTROL_PLANES, True)


def test_it_acts_as_the_administrator_that_stays(cluster: ClusterLab) -> None:
    """kubeadm's super-admin.conf serves only while the cluster is being made."""
    for node in CONTROL_PLANES:
        assert "super-admin.conf" not in cluster.on(node, "cat", MANIFEST)


def test_the_second_run_changes_nothing(cluster: ClusterLab) -> None:
    outcome = cluster.play()
    assert outcome.code == ExitCode.DONE, outcome.message
    assert changes(outcome) == {}


def test_the_other_takes_the_address_and_the_plain_command_mends_the_first(cluster: ClusterLab) -> None:
    [holder] = holders(cluster)
    cluster.on(holder, "rm", MANIFEST)
    [other] = set(CONTROL_PLANES) - {holder}
    assert eventually(lambda: holders(cluster) == [other])
    assert cluster.nodes(other) == dict.fromkeys(CONTROL_PLANES, True)
    outcome = cluster.play()
    assert outcome.code == ExitCode.DONE, outcome.message
    assert "kube-vip" in cluster.on(holder, "cat", MANIFEST)
    tell(f"kube-vip: the address moved from {holder} to {other}")
