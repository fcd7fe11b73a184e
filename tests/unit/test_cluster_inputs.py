# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions, words and variables of a cluster, checked against each other."""

from __future__ import annotations

import pytest

from kubestead.model import cluster_inputs as inputs

MINORS = ["1.29", "1.36", "1.37"]


@pytest.mark.parametrize(
    ("version", "minor", "words"),
    [
        ("1.36.4", "1.36", None),
        ("1.36.4", "1.35", "expected one of 1.29, 1.36, 1.37"),
        ("1.36.4", "1", "with quotes"),
        ("1.35.2", "1.36", "set the minor to 1.35"),
        ("newest", "1.36", "'newest'"),
    ],
)
def test_the_version_belongs_to_the_minor(version: str, minor: str, words: str | None) -> None:
    found = inputs.check_kubernetes(version, minor, MINORS)
    assert found == [] if words is None else words in found[0]


@pytest.mark.parametrize(
    ("kubernetes", "containerd", "wrong"),
    [
        ("1.37.0", "1.7.28", True),
        ("1.37.0", "2.3.4", False),
        ("1.36.4", "1.7.28", False),
        ("1.29.15", "1.7.28-1", False),
        ("1.29.15", "1.5.9", True),
        ("1.37.0", "", False),
    ],
)
def test_pairs_that_do_not_work(kubernetes: str, containerd: str, wrong: bool) -> None:
    found = inputs.check_pairs(kubernetes, {"containerd": containerd}).problems
    assert bool(found) == wrong
    if wrong:
        assert kubernetes in found[0]
        assert containerd in found[0]


def test_another_minor_of_crio_is_a_warning() -> None:
    assert inputs.check_pairs("1.36.4", {"crio": "1.36.1"}).warnings == []
    found = inputs.check_pairs("1.36.4", {"crio": "1.34.0"})
    assert (len(found.problems), len(found.warnings)) == (0, 1)


def test_another_minor_of_kubectl_is_a_warning() -> None:
    assert inputs.check_pairs("1.29.15", {"kubectl": "v1.30.2"}).warnings == []
    assert "1.34.0" in inputs.check_pairs("1.29.15", {"kubectl": "v1.34.0"}).warnings[0]


def test_a_version_that_is_none() -> None:
    assert "'two'" in inputs.check_pairs("1.36.4", {"containerd": "two"}).problems[0]


def test_words_that_are_none_of_the_known_ones() -> None:
    assert inputs.check_pod_network("calico") == []
    assert "'weave'" in inputs.check_pod_network("weave")[0]
    assert inputs.check_runtimes({"a": "crio", "b": "containerd"}) == []
    assert inputs.check_runtimes({"a": "docker"})[0].startswith("a: container_runtime is 'docker'")


def test_variables_that_must_not_be_empty() -> None:
    found = inputs.check_required({"a": "", "b": None, "c": "x", "d": 0}, {"a": "for this"})
    assert found == ["a is not set: for this.", "b is not set."]
