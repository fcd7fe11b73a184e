# SPDX-License-Identifier: GPL-3.0-or-later
"""Kubernetes' own `[Conformance]` tests, all that can run here, on a cluster that the plain command made."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.software import choose
from tests.conformance.suite import Suite, groups
from tests.e2e.cluster_lab import ClusterLab
from tests.figures import tell

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

#: Two hours are enough on two cores with nothing else to do; a computer that is busy takes longer.
SECONDS = 6 * 3600


@pytest.fixture(scope="module")
def program() -> Path:
    software = choose()
    found = software.own_tests()
    if found is None:
        pytest.skip(software.without_own_tests())
    return found


@pytest.fixture(scope="module")
def deployed(program: Path) -> Iterator[ClusterLab]:
    one = ClusterLab("conformance", {"conf-cp-1": "10.77.0.11"}, {"conf-worker-1": "10.77.0.21"})
    with one.standing(deployed=True):
        yield one


def test_all_that_can_run_here_passes(program: Path, deployed: ClusterLab) -> None:
    folder = Path(os.environ.get("KUBESTEAD_CONFORMANCE_LOGS") or "/var/log/kubestead-conformance")
    suite = Suite(program, deployed.lab, deployed.kubeconfig, folder)
    names = suite.names()
    wanted = names
    for group in groups():
        left = [name for name in wanted if group.has(name)]
        wanted = [name for name in wanted if name not in left]
        tell(f"left out, {len(left)}: {group.why}")
        for name in left:
            print(f"    {name}")
        assert any(group.has(name) for name in names), f"left_out.yml: there is no test of: {group.why}"
    tell(f"logs and reports are in {folder}")
    outcome = suite.run(wanted, SECONDS)
    tell(f"of {len(names)} [Conformance] tests {len(wanted)} were run: {outcome.summary()}")
    assert not outcome.failed
    assert not outcome.unheard
    assert outcome.passed
