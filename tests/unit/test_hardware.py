# SPDX-License-Identifier: GPL-3.0-or-later
"""What hardware proposes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubestead.model.hardware import proposals, size, summary
from tests.unit.api_sample import CP, REGISTRY, Files, serving

GIB = 1 << 30
GTX = {"address": "0000:01:00.0", "vendor": "10de", "device": "1c03", "name": "GP106 [GeForce GTX 1060]"}
DISK = {"name": "sdb", "ids": ["/dev/disk/by-id/ata-B"], "bytes": 500 * GIB, "used": False}


def proposed(**hardware: Any) -> dict[str, str]:
    return {each.feature: each.reason for each in proposals(hardware)}


def test_a_graphics_card_and_an_unused_disk() -> None:
    assert proposed(gpus=[GTX], disks=[DISK]) == {
        "gpu": "NVIDIA GP106 [GeForce GTX 1060] at 0000:01:00.0",
        "storage": "unused: /dev/disk/by-id/ata-B (500 GiB)",
    }


def test_what_the_machine_has_is_not_proposed() -> None:
    assert [each.feature for each in proposals({"gpus": [GTX], "disks": [DISK]}, ["gpu"])] == ["storage"]


@pytest.mark.parametrize(
    "card",
    [
        {"vendor": "1a03", "address": "0000:03:00.0"},  # a server's console
        {"vendor": "1234", "address": "0000:00:01.0"},  # a virtual machine's
        {"vendor": "8086", "address": "0000:00:02.0"},  # a part of the processor
    ],
)
def test_a_card_that_only_shows_pictures_is_none(card: dict[str, str]) -> None:
    assert proposed(gpus=[card]) == {}


def test_a_card_of_intel_is_one() -> None:
    card = {"vendor": "8086", "device": "56a0", "address": "0000:03:00.0", "name": None}
    assert proposed(gpus=[card]) == {"gpu": "Intel 56a0 at 0000:03:00.0"}


@pytest.mark.parametrize(
    "more", [{"used": True}, {"used": None}, {"bytes": GIB}, {"removable": True}, {"read_only": True}]
)
def test_a_disk_that_must_not_be_touched_is_not_proposed(more: dict[str, Any]) -> None:
    assert proposed(disks=[{**DISK, **more}]) == {}


def test_in_a_line() -> None:
    hardware = {"cpu": {"threads": 8}, "memory": {"bytes": 16 * GIB}, "disks": [DISK, DISK], "gpus": [GTX]}
    assert summary({**hardware, "firmware": "uefi", "virtualisation": "none"}) == (
        "8 threads, 16 GiB memory, 2 disks (1000 GiB), NVIDIA GP106 [GeForce GTX 1060] at 0000:01:00.0, uefi"
    )
    assert summary({}) == ""


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1536, "1.5 KiB"), (8 * GIB, "8.0 GiB"), (3 << 40, "3.0 TiB")]
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


HARDWARE = {"gpus": [GTX], "disks": [DISK]}


@pytest.mark.parametrize("accepting", [False, True])
def test_it_is_accepted_by_itself_only_where_that_is_said(tmp_path: Path, accepting: bool) -> None:
    files = Files.make(tmp_path)
    with serving(files, accept_features=accepting) as api:
        body = {"mac": CP, "key": "hardware", "value": HARDWARE}
        assert api.post("/api/data", json=body).status_code == 200
        assert api.post("/api/data", json={**body, "mac": "52:54:00:77:00:99"}).status_code == 200
        entry = json.loads(files.registry.read_text())[CP]
        assert entry == REGISTRY[CP] | ({"features": ["kubernetes", "gpu", "storage"]} if accepting else {})
        told = [each["message"] for each in api.get("/api/events").json() if each["kind"] == "registry"]
        assert told == (["changed cp-1: its hardware proposes gpu, storage"] if accepting else [])
        assert api.get(f"/api/machines/{CP}").json()["features"] == entry["features"]
        api.post("/api/data", json=body)
        assert len([each for each in api.get("/api/events").json() if each["kind"] == "registry"]) == len(
            told
        )


def test_a_registry_that_is_broken_does_not_cost_the_datum(tmp_path: Path) -> None:
    files = Files.make(tmp_path)
    with serving(files, accept_features=True) as api:
        files.registry.write_text("{")
        body = {"mac": CP, "key": "hardware", "value": HARDWARE}
        assert api.post("/api/data", json=body).status_code == 200
        assert api.get(f"/api/data/{CP}/hardware").json()["value"] == HARDWARE
        assert files.registry.read_text() == "{"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_keys = st.sampled_from(["cpu", "memory", "disks", "gpus", "firmware", "virtualisation"])


@given(_json | st.dictionaries(_keys, _json))
def test_what_a_machine_makes_up_does_no_harm(hardware: Any) -> None:
    assert isinstance(proposals(hardware), list)
    assert isinstance(summary(hardware), str)
