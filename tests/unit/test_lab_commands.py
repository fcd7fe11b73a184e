# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's command line, its inventory, and which source of software it takes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lab.commands import split
from lab.errors import InputError
from lab.homelab import INVENTORY, Homelab
from lab.lab import Lab
from lab.software import NONE, choose


@pytest.mark.parametrize(
    ("words", "own", "passed_on"),
    [
        (["kubectl", "-n", "x", "get"], ["kubectl"], ["-n", "x", "get"]),
        (["--lab", "kubectl", "kubestead", "--json"], ["--lab", "kubectl", "kubestead"], ["--json"]),
        (["run", "--", "kubestead", "status"], ["run", "--", "kubestead", "status"], []),
        (["--wait"], ["--wait"], []),
        ([], [], []),
    ],
)
def test_only_a_command_hands_its_options_on(words: list[str], own: list[str], passed_on: list[str]) -> None:
    assert split(words) == (own, passed_on)


def test_the_labs_machines_are_those_of_its_inventory() -> None:
    homelab = Homelab.read(Lab("unit"))
    assert [machine.name for machine in homelab.machines] == ["lab-pxe", "lab-cp-1", "lab-worker-1"]
    assert {machine.os for machine in homelab.machines} == {"debian-12", "debian-13"}
    assert homelab.control_plane == "lab-cp-1"
    assert homelab.api_environment()["KUBESTEAD_API_URL"] == "https://10.77.0.10:8080"


def test_an_inventory_without_a_control_plane_is_refused(tmp_path: Path) -> None:
    inventory = tmp_path / "lab"
    shutil.copytree(INVENTORY, inventory)
    registry = inventory / "registry.json"
    machines = json.loads(registry.read_text())
    for machine in machines.values():
        machine["role"] = "worker"
    registry.write_text(json.dumps(machines))
    with pytest.raises(InputError, match="control-plane"):
        Homelab.read(Lab("unit"), inventory)


def test_the_source_of_software(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected auto, public, bundle, modules or none"):
        choose("floppy")
    assert choose("none").kind == NONE
    monkeypatch.setenv("KUBESTEAD_BUNDLE", str(tmp_path))
    nothing = choose("bundle")
    assert nothing.kind == NONE
    assert str(tmp_path) in nothing.text
    assert nothing.variables()["artifacts_source"] == "public"
