# SPDX-License-Identifier: GPL-3.0-or-later
"""What rpm and dnf say about packages."""

from __future__ import annotations

from kubestead.model import dpkg, rpm

QUERY = "package containerd.io is not installed\nkubelet\t1.36.4-150500.1.1\nsocat\t1.7.4.1-6.el9\n"
LOCKS = "# Added lock\nkubelet-0:1.36.4-150500.1.1.*\n!kubectl-0:1.36.4-*.*\n\nkubernetes-cni-0:1.9.1-*.*\n"


def test_installed_packages_and_those_that_are_locked() -> None:
    have = rpm.installed(QUERY, LOCKS)
    assert have == {
        "kubelet": dpkg.Package("1.36.4-150500.1.1", True),
        "socat": dpkg.Package("1.7.4.1-6.el9", False),
    }
    assert rpm.held(LOCKS) == ["kubelet", "kubernetes-cni"]


def test_versions_are_compared_as_with_dpkg() -> None:
    have = rpm.installed(QUERY)
    assert dpkg.matches(have["kubelet"].version, "1.36.4")
    assert not dpkg.matches(have["kubelet"].version, "1.36")
    assert dpkg.upstream(have["kubelet"].version) == "1.36.4"
    assert dpkg.choose(["containerd.io", "socat"], have, {}) == "socat"


def test_candidates_with_the_newlines_that_dnf_adds() -> None:
    assert rpm.versions("containerd.io\t2.2.1-1.el9\n\n") == {"containerd.io": "2.2.1-1.el9"}
