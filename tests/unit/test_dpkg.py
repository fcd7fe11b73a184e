# SPDX-License-Identifier: GPL-3.0-or-later
"""What dpkg and apt say."""

from __future__ import annotations

import pytest

from kubestead.model import dpkg

SHOW = """\
kubeadm\thold\tinstalled\t1.36.4-1.1
kubelet\tinstall\tinstalled\t1.36.4-1.1
containerd\tdeinstall\tconfig-files\t1.7.24~ds1-6
"""
POLICY = """\
containerd.io:
  Installed: (none)
  Candidate: (none)
  Version table:
containerd:
  Installed: (none)
  Candidate: 1.6.20~ds1-1+deb12u1
  Version table:
     1.6.20~ds1-1+deb12u1 500
"""


def test_only_what_is_really_there_is_installed() -> None:
    assert dpkg.installed(SHOW) == {
        "kubeadm": dpkg.Package("1.36.4-1.1", True),
        "kubelet": dpkg.Package("1.36.4-1.1", False),
    }


def test_candidates() -> None:
    assert dpkg.candidates(POLICY) == {"containerd": "1.6.20~ds1-1+deb12u1"}


def test_installed_comes_before_preferred() -> None:
    names = ["containerd.io", "containerd"]
    both = {"containerd.io": "1", "containerd": "1"}
    assert dpkg.choose(names, {"containerd": dpkg.Package("1", False)}, both) == "containerd"
    assert dpkg.choose(names, {}, both) == "containerd.io"
    assert dpkg.choose(names, {}, {}) == ""


@pytest.mark.parametrize(
    ("version", "upstream"),
    [
        ("1.6.20~ds1-1+deb12u1", "1.6.20"),
        ("1.7.28-1~debian.12~bookworm", "1.7.28"),
        ("2:2.1.4+ds-1", "2.1.4"),
        ("1.7.24", "1.7.24"),
        ("", ""),
    ],
)
def test_upstream(version: str, upstream: str) -> None:
    assert dpkg.upstream(version) == upstream


def test_matches_whatever_the_revision() -> None:
    assert dpkg.matches("1.36.4-1.1", "1.36.4")
    assert dpkg.matches("1.36.4-1.1", "1.36.4-1.1")
    assert not dpkg.matches("1.36.40-1.1", "1.36.4")
