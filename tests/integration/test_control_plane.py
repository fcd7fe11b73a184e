# SPDX-License-Identifier: GPL-3.0-or-later
"""The bundle's etcd, API server and kubeadm: the administrator, what a join takes, members,
secrets, certificates."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.control_plane_programs import lack, run

pytestmark = pytest.mark.skipif(bool(lack()), reason=lack())


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the control plane said."""
    answer: dict[str, Any] = run(
        "tests.integration.real_control_plane", tmp_path_factory.mktemp("control-plane")
    )
    return answer


def test_the_administrator_gets_rights_and_certificate_back(told: dict[str, Any]) -> None:
    assert "RBAC" in told["administrator"]["unbound"]
    assert told["administrator"]["bound"] == ""
    assert "groups nobody" in told["administrator"]["stranger"]
    assert "cannot be read" in told["administrator"]["empty"]
    assert told["administrator"]["left"] == ""


def test_what_a_join_takes_is_made_told_to_nobody_and_ended(told: dict[str, Any]) -> None:
    assert told["material"] == {
        "files": ["audit-policy.yaml", "encryption.yaml"],
        "secrets": 3,
        "sealed": True,
        "logged": False,
        "valid": 0,
        "ended": True,
        "left": [],
    }


def test_a_member_that_never_started_is_known_by_its_address_and_taken_out(told: dict[str, Any]) -> None:
    assert told["members"] == {"name": "cp-1", "learner": True, "is_of": True, "after": ["cp-1"]}


def test_a_secret_can_be_read_nowhere_and_its_making_is_noted(told: dict[str, Any]) -> None:
    assert told["sealed"] == {"in etcd": False, "in the log": False, "noted": True}


def test_certificates_that_a_power_cut_has_spoilt_are_made_anew(told: dict[str, Any]) -> None:
    assert told["certificates"] == {"whole": {}, "damaged": 8, "repaired": 8, "left": {}, "nodes": True}
