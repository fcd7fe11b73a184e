# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's command line, its inventory, and which source of software it takes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lab import inventory
from lab.commands import split
from lab.errors import InputError
from lab.homelab import Homelab
from lab.lab import Lab
from lab.qemu_probe import EMULATED, KVM
from lab.software import NONE, choose


@pytest.mark.parametrize(
    ("words", "own", "passed_on"),
    [
        (["kubectl", "-n", "x", "get"], ["kubectl"], ["-n", "x", "get"]),
        (["--lab", "kubectl", "kubestead", "--json"], ["--lab", "kubectl", "kubestead"], ["--json"]),
        (["run", "--", "kubestead", "status"], ["run", "--", "kubestead", "status"], []),
        (["--wait"], ["--wait", "up"], []),
        (["--lab", "x", "--machines", "2"], ["--lab", "x", "up", "--machines", "2"], []),
        (["--firmware=uefi"], ["up", "--firmware=uefi"], []),
        (["up", "--machines", "0"], ["up", "--machines", "0"], []),
        (["--help"], ["--help"], []),
        ([], ["up"], []),
    ],
)
def test_a_command_hands_its_options_on_and_none_is_up(
    words: list[str], own: list[str], passed_on: list[str]
) -> None:
    assert split(words) == (own, passed_on)


def test_the_labs_machines_are_those_of_its_inventory() -> None:
    homelab = Homelab.read(Lab("unit"), inventory.SOURCE)
    assert [machine.name for machine in homelab.machines] == ["lab-pxe", "lab-cp-1", "lab-worker-1"]
    assert {machine.os for machine in homelab.machines} == {"debian-12", "debian-13"}
    assert [(spec.name, spec.firmware) for spec in homelab.virtual] == [("lab-machine-1", "bios")]
    assert homelab.control_plane == "lab-cp-1"
    assert homelab.api_environment()["KUBESTEAD_API_URL"] == "https://10.77.0.10:8080"


def test_an_inventory_without_a_control_plane_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    shutil.copytree(inventory.SOURCE, folder)
    registry = folder / "registry.json"
    machines = json.loads(registry.read_text())
    for machine in machines.values():
        machine["role"] = "worker"
    registry.write_text(json.dumps(machines))
    with pytest.raises(InputError, match="control-plane"):
        Homelab.read(Lab("unit"), folder)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("KUBESTEAD_LAB_HOME", str(tmp_path))
    return Lab("unit")


def written(lab: Lab, count: int, firmware: str | None = None, accelerator: str = EMULATED) -> Homelab:
    """The lab after its inventory was written."""
    entries = inventory.entries(lab.folder, count, firmware, accelerator)
    assert inventory.write(lab.folder, entries) == inventory.known(lab.folder)
    return Homelab.read(lab)


def test_a_lab_has_as_many_virtual_machines_as_are_wanted(lab: Lab) -> None:
    assert inventory.count(lab.folder) == 1
    three = written(lab, 3)
    assert inventory.count(lab.folder) == 3, "the next run keeps them"
    assert [(spec.name, spec.ip, spec.mac) for spec in three.virtual] == [
        (f"lab-machine-{number}", f"10.77.0.4{number}", f"52:54:00:77:00:4{number}") for number in (1, 2, 3)
    ]
    assert [node.name for node in three.machines] == ["lab-pxe", "lab-cp-1", "lab-worker-1"]
    assert (three.inventory / "group_vars" / "all" / "lab.yml").is_file()
    assert len(written(lab, 9).virtual) == 9
    assert written(lab, 0).virtual == ()
    for count in (-1, 10):
        with pytest.raises(InputError, match="expected 0 to 9"):
            written(lab, count)


def test_new_machines_have_the_firmware_that_was_asked_for_and_old_ones_keep_theirs(lab: Lab) -> None:
    [first] = written(lab, 1, "uefi").virtual
    assert first.firmware == "uefi"
    assert written(lab, 1, "bios").virtual[0].firmware == "bios", "it was never made"
    lab.machines.get(first.name).make(written(lab, 1, "uefi").virtual[0])
    assert [spec.firmware for spec in written(lab, 2).virtual] == ["uefi", "bios"]
    with pytest.raises(InputError, match="machine wipe lab-machine-1"):
        written(lab, 2, "bios")
    lab.machines.get(first.name).wipe()
    assert [spec.firmware for spec in written(lab, 2, "bios").virtual] == ["bios", "bios"]


def test_only_a_machine_that_is_quick_enough_joins_the_cluster(lab: Lab) -> None:
    def role(accelerator: str) -> tuple[str, int]:
        [spec] = written(lab, 1, accelerator=accelerator).virtual
        return inventory.load(inventory.known(lab.folder)).machines[spec.mac].role, spec.memory

    assert role(EMULATED) == ("compute", 1024)
    assert role(KVM) == ("worker", 2048)


def test_the_source_of_software(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected auto, public, bundle, modules or none"):
        choose("floppy")
    assert choose("none").kind == NONE
    monkeypatch.setenv("KUBESTEAD_BUNDLE", str(tmp_path))
    nothing = choose("bundle")
    assert nothing.kind == NONE
    assert str(tmp_path) in nothing.text
    assert nothing.variables()["artifacts_source"] == "public"
