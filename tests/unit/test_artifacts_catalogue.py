# SPDX-License-Identifier: GPL-3.0-or-later
"""The one catalogue: every minor is whole, every file that it leads to has a checksum."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from bundle import catalogue, places
from plugins.filter.catalogue import catalogue as part

DEFAULTS: dict[str, Any] = yaml.safe_load(places.ARTIFACTS.read_text(encoding="utf-8"))
ENTRIES: dict[str, dict[str, Any]] = part("versions")
MINORS = [f"1.{minor}" for minor in range(29, 38)]


def test_all_minors_are_there_and_the_default_is_one_of_them() -> None:
    """In their order, each with the same keys."""
    assert list(ENTRIES) == MINORS
    assert DEFAULTS["artifacts_kubernetes_minor"] in ENTRIES
    keys = {frozenset(entry) - {"modules"} for entry in ENTRIES.values()}
    assert len(keys) == 1


@pytest.mark.parametrize("minor", MINORS)
def test_versions_are_versions_and_belong_together(minor: str) -> None:
    """Texts, not numbers that YAML has cut (3.10 is no 3.1), of the minor, the image's tag of its etcd."""
    entry = ENTRIES[minor]
    for key, version in (entry | entry.get("modules", {})).items():
        if key != "modules":
            assert isinstance(version, str), key
            assert re.fullmatch(r"\d+(\.\d+)+(-[\w.-]+)?", version), key
    assert entry["kubernetes"].startswith(f"{minor}.")
    assert entry["etcd_image_tag"].startswith(f"{entry['etcd']}-")
    assert entry["crio"] == minor
    assert set(entry.get("modules", {})) <= set(entry)


@pytest.mark.parametrize("minor", MINORS)
def test_containerd_is_one_that_the_kubelet_takes(minor: str) -> None:
    """The kubelet of 1.37 refuses containerd 1."""
    if int(minor.split(".")[1]) >= 37:
        assert ENTRIES[minor]["containerd"].startswith("2.")


@pytest.mark.parametrize(
    ("file", "key"),
    [("calico_operator_crds", "calico"), ("calico_operator", "calico"), ("cilium_chart", "cilium")],
)
def test_what_is_downloaded_has_a_checksum(file: str, key: str) -> None:
    """For every version that a minor leads to."""
    sums = part("checksums")[file]
    for minor, entry in ENTRIES.items():
        assert re.fullmatch(r"[0-9a-f]{64}", sums.get(entry[key], "")), f"{minor}: {file} {entry[key]}"


def test_add_ons_name_images_and_files_that_there_are() -> None:
    """What a bundle may be asked for is listed elsewhere in the catalogue."""
    for name, addon in DEFAULTS["artifacts_addons"].items():
        assert set(addon.get("images", [])) <= set(DEFAULTS["artifacts_images"]), name
        assert set(addon.get("files", [])) <= set(DEFAULTS["artifacts_files"]), name


def test_what_the_proxy_does_not_have_is_replaced_for_builds_only() -> None:
    """A bundle from modules has crictl 1.36.0 for 1.29, machines with the public packages 1.29.0."""
    assert ENTRIES["1.29"]["cri_tools"] == "1.29.0"
    assert catalogue.load().minors["1.29"].cri_tools == "1.36.0"


def test_one_minor_by_itself() -> None:
    """That is what a run asks for."""
    assert part("versions", "1.36") == ENTRIES["1.36"]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("sums",), "versions, conformance_images, checksums, and not sums"),
        (("versions", "1.3"), "1.37, and not 1.3"),
    ],
)
def test_what_there_is_not_is_an_error(asked: tuple[str, ...], told: str) -> None:
    """It names what there is."""
    with pytest.raises(ValueError, match=told):
        part(*asked)
