# SPDX-License-Identifier: GPL-3.0-or-later
"""When a run ends with a deployment that is created, scaled, reached and deleted."""

from __future__ import annotations

import pytest

from tests.unit.collection_sample import load

due = load("filter.workload_due").workload_due


def test_after_a_change_or_where_no_phase_could_have_made_one() -> None:
    assert due([{}, {"other": 1}])
    assert not due([{"kubeadm_init_result": {"changed": False}}, {"kubeadm_join_result": {"changed": False}}])
    assert due([{"kubeadm_init_result": {"changed": False}}, {"kubeadm_join_result": {"changed": True}}])
    assert due([{"kubeadm_init_result": {"changed": False}, "cni_result": {"changed": True}}])


@pytest.mark.parametrize(("mode", "expected"), [("always", True), ("never", False)])
def test_a_person_may_decide(mode: str, expected: bool) -> None:
    assert due([{"cni_result": {"changed": not expected}}], mode) == expected


def test_another_word_is_refused() -> None:
    with pytest.raises(Exception, match="expected auto, always or never"):
        due([], "sometimes")
