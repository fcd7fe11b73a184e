# SPDX-License-Identifier: GPL-3.0-or-later
"""The first-boot agent: hardware, boot order, files. Its talk with the API is in tests/integration."""

from __future__ import annotations

import ast
import json
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from kubestead.agent import scripts
from kubestead.installers.settings import BootSettings, SettingsError
from tests.unit.agent_sample import FOLDER, MAC, PROGRAM, SIZE, Tree, agent, on

PARTUUID = "0c8f6e3d-1111-4222-8333-444455556666"
ORDER = f"""BootCurrent: 0002
Timeout: 0 seconds
BootOrder: 0000,0001,0002,0003,0004,0005
Boot0000* UiApp\tFvVol(7cb8bdc9)/FvFile(462caa21)
Boot0001* UEFI Misc Device\tPciRoot(0x0)/Pci(0x3,0x0){{auto_created_boot_option}}
Boot0002* UEFI PXEv4 (MAC:525400770011)\tPciRoot(0x0)/Pci(0x2,0x0)/MAC(525400770011,1)/IPv4(0.0.0.0,0,0)
Boot0003* UEFI PXEv6 (MAC:525400770011)\tPciRoot(0x0)/Pci(0x2,0x0)/MAC(525400770011,1)/IPv6([::],0,0)
Boot0004* UEFI HTTPv4 (MAC:525400770011)\tPciRoot(0x0)/Pci(0x2,0x0)/MAC(525400770011,1)/IPv4(0.0.0.0)/Uri()
Boot0005* debian\tHD(1,GPT,{PARTUUID},0x800,0x100000)/File(\\EFI\\debian\\shimx64.efi)
"""


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def found(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The hardware in a tree; blkid and lspci would look at this computer's own."""
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name in ("blkid", "lspci") else which(name))
    with on(tree.folder) as program:
        return json.loads(json.dumps(program.hardware(MAC)))


def test_it_is_python_of_2020() -> None:
    ast.parse(PROGRAM.read_text(encoding="utf-8"), feature_version=(3, 9))


def test_processor_memory_and_firmware(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    hardware = found(tree, monkeypatch)
    assert hardware["cpu"] | {"architecture": ""} == {
        "model": "A Processor",
        "architecture": "",
        "sockets": 1,
        "cores": 2,
        "threads": 4,
    }
    assert hardware["memory"] == {"bytes": 2048 * 1024}
    assert (hardware["firmware"], hardware["secure_boot"]) == ("bios", None)
    tree.write("/sys/firmware/efi/efivars/SecureBoot-8be4df61", b"\6\0\0\0\1")
    tree.write("/sys/class/dmi/id/product_name", "Box\x1b[31m 9000\n")
    hardware = found(tree, monkeypatch)
    assert (hardware["firmware"], hardware["secure_boot"]) == ("uefi", True)
    assert hardware["dmi"]["product"] == "Box[31m 9000"


def test_disks_used_and_unused(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.disk("sda", "8:0", parts=2)
    tree.disk("sdb", "8:16")
    tree.disk("sdc", "8:32", content=b"something")
    tree.disk("nvme0n1", "259:0", parts=1)
    tree.link("/dev/disk/by-id/ata-B", "/dev/sdb")
    tree.link("/dev/disk/by-id/wwn-B", "/dev/sdb")
    tree.write("/sys/devices/disks/nvme0n1/nvme0n1p1/holders/md0/x", "")
    tree.write("/sys/block/loop0/size", "2048")  # no device of its own
    tree.write("/sys/block/sr0/device/model", "reads discs")
    tree.write("/sys/block/sr0/size", "2048")
    tree.write("/proc/self/mounts", "/dev/sda2 / ext4 rw 0 0\n/dev/sda1 /boot/efi vfat rw 0 0\n")
    tree.write("/proc/self/mountinfo", "22 1 8:2 / / rw,relatime - ext4 /dev/sda2 rw\n")
    disks = {each["name"]: each for each in found(tree, monkeypatch)["disks"]}
    assert list(disks) == ["nvme0n1", "sda", "sdb", "sdc"]
    assert disks["sda"]["uses"] == ["2 partitions", "mounted on /", "mounted on /boot/efi"]
    assert disks["sdb"]["uses"] == []
    assert disks["sdb"]["ids"] == ["/dev/disk/by-id/ata-B", "/dev/disk/by-id/wwn-B"]
    assert disks["sdb"]["bytes"] == SIZE
    assert disks["sdc"]["uses"] == ["holds unknown data"]
    assert disks["nvme0n1"]["uses"] == ["1 partition", "part of md0"]
    assert {name: (each["used"], each["system"]) for name, each in disks.items()} == {
        "sda": (True, True),
        "sdb": (False, False),
        "sdc": (True, False),
        "nvme0n1": (True, False),
    }


def test_a_system_on_raid_names_the_disks_below_it(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, number in (("sda", "8:0"), ("sdb", "8:16")):
        tree.disk(name, number, parts=1)
        tree.link(f"/sys/devices/md0/slaves/{name}1", f"/sys/devices/disks/{name}/{name}1")
    tree.link("/sys/dev/block/9:0", "/sys/devices/md0")
    tree.write("/proc/self/mountinfo", "22 1 9:0 / / rw - ext4 /dev/md0 rw\n")
    assert all(each["system"] for each in found(tree, monkeypatch)["disks"])


def test_a_disk_that_cannot_be_read_counts_as_used(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.disk("sda", "8:0")
    (tree.folder / "dev" / "sda").unlink()
    assert found(tree, monkeypatch)["disks"][0]["uses"] == ["cannot be read: No such file or directory"]


def test_cards(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.card("enp1s0", MAC)
    tree.card("enp2s0", "52:54:00:77:00:12", speed="-1")
    tree.write("/sys/class/net/docker0/address", "02:42:00:00:00:01")
    tree.write("/sys/class/net/br0/address", MAC)
    tree.gpu("0000:01:00.0", "10de", "1c03")
    tree.gpu("0000:00:1f.0", "8086", "0001", kind="0x060100")
    hardware = found(tree, monkeypatch)
    assert [(each["name"], each["speed"], each["driver"], each["card"]) for each in hardware["nics"]] == [
        ("br0", None, None, False),
        ("enp1s0", 1000, "e1000e", True),
        ("enp2s0", None, "e1000e", True),
    ]
    (gpu,) = hardware["gpus"]
    assert (gpu["address"], gpu["vendor"], gpu["device"], gpu["class"]) == (
        "0000:01:00.0",
        "10de",
        "1c03",
        "0300",
    )


def test_the_disk_comes_right_after_the_network() -> None:
    assert agent().better_order(ORDER, MAC, {PARTUUID}) == ["0002", "0005", "0000", "0001", "0003", "0004"]


@pytest.mark.parametrize(
    ("mac", "partitions", "text"),
    [
        ("52:54:00:77:00:99", {PARTUUID}, ORDER),  # the network is another card's
        (MAC, {"0c8f6e3d-9999-4222-8333-444455556666"}, ORDER),  # the loader is another disk's
        (MAC, {PARTUUID}, ORDER.replace("0000,0001,0002,0003,0004,0005", "0002,0005,0000")),  # it is so
        (MAC, {PARTUUID}, ORDER.replace("0000,0001,0002,0003,0004,0005", "0004,0005,0002")),  # by HTTP
        ("52:54:00:77:00:99", {PARTUUID}, ORDER.replace("0000,0001,0002,0003,0004,0005", "0002,0005")),
        (MAC, {PARTUUID}, ""),
        (MAC, {PARTUUID}, "No BootOrder is set; firmware will attempt recovery\n"),
    ],
)
def test_an_order_that_is_not_known_better_stays(mac: str, partitions: set[str], text: str) -> None:
    assert agent().better_order(text, mac, partitions) is None


def test_what_is_written_is_for_root_alone_and_whole(tmp_path: Path) -> None:
    with on(tmp_path) as program:
        program.write(program.TOKEN, "secret\n")
        file = tmp_path / "etc" / "kubestead" / "machine.token"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        file.chmod(0o644)
        program.write(program.TOKEN, "new\n")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert program.read(program.TOKEN) == "new"
        assert sorted(each.name for each in file.parent.iterdir()) == ["machine.token"]


def test_configure_keeps_what_the_installer_left_for_the_same_machine(tmp_path: Path) -> None:
    config = Tree(tmp_path).write(
        "/etc/kubestead/agent.json", json.dumps({"mac": MAC, "install_id": "i", "install_token": "t"})
    )
    Tree(tmp_path).write("/etc/kubestead/enrolment.json", json.dumps({"refused": "no"}))
    Tree(tmp_path).write("/etc/kubestead/first-boot.done", "{}")
    common = ["--root", str(tmp_path), "configure", "--api-url", "https://10.0.0.10:8080"]
    assert agent().main(common) == 0
    kept = {"mac": MAC, "install_id": "i", "install_token": "t"}
    assert kept.items() <= json.loads(config.read_text()).items()
    assert sorted(each.name for each in config.parent.iterdir()) == ["agent.json"]
    assert agent().main([*common, "--mac", "52-54-00-77-00-99"]) == 0
    assert json.loads(config.read_text())["mac"] == "52:54:00:77:00:99"
    assert "install_token" not in json.loads(config.read_text())


def test_a_machine_that_was_told_nothing_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert agent().main(["--root", str(tmp_path), "run"]) == 78
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["level"] == "ERROR"
    assert "provision-machine.sh" in json.loads(line)["message"]
    assert agent().main(["--root", str(tmp_path), "machine-state", "ready"]) == 2
    assert "provision-machine.sh" in capsys.readouterr().err


def test_what_nobody_thought_of_is_logged_and_tried_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"mac": MAC, "api_url": "http://127.0.0.1:9", "install_token": 5}
    Tree(tmp_path).write("/etc/kubestead/agent.json", json.dumps(config))
    Tree(tmp_path).write("/run", "no folder")
    assert agent().main(["--root", str(tmp_path), "run"]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert "starts again in a minute" in json.loads(line)["message"]
    assert "Traceback" in json.loads(line)["exception"]


def test_pauses_grow_and_end_at_five_minutes() -> None:
    waiting = agent().pauses()
    taken = [next(waiting) for _ in range(12)]
    assert 1.6 <= taken[0] <= 2.4
    assert all(240 <= each <= 360 for each in taken[-3:])


# What is served


def boot_settings(**more: Any) -> BootSettings:
    return BootSettings(base="http://10.0.0.10", api_url="https://10.0.0.10:8080", **more)


def test_the_scripts_that_are_served() -> None:
    ca = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    known = boot_settings(api_ca=ca)

    def served(name: str) -> Any:
        return scripts.answer(f"/scripts/{name}", lambda: known)

    assert served("kubestead-agent").text == PROGRAM.read_text(encoding="utf-8")
    unit = (FOLDER / "kubestead-first-boot.service").read_text(encoding="utf-8")
    assert served("kubestead-agent.service").text == unit
    assert served("machine-state.sh").text.startswith("#!/bin/sh\n")
    assert served("ca.crt").text.strip() == ca.strip()
    script = served("provision-machine.sh").text
    assert "base='http://10.0.0.10'" in script
    assert "api_url='https://10.0.0.10:8080'" in script
    assert "@" not in script.replace('"$@"', "")
    for other in ("", "scripts.py", "__init__.py", "../boot.json", "kubestead-first-boot.service"):
        assert served(other) is None
    assert scripts.answer("/boot/kubestead-agent", lambda: known) is None


def test_what_cannot_be_served_says_why() -> None:
    def missing() -> BootSettings:
        raise SettingsError(["there is no boot.json"])

    assert scripts.answer("/scripts/provision-machine.sh", missing) == scripts.Script(
        503, "there is no boot.json"
    )
    agent_itself = scripts.answer("/scripts/kubestead-agent", missing)
    assert agent_itself is not None
    assert agent_itself.status == 200
    no_tls = scripts.answer("/scripts/ca.crt", boot_settings)
    assert no_tls is not None
    assert no_tls.status == 404


@pytest.mark.parametrize("name", ["kubestead-agent", "provision-machine.sh", "machine-state.sh"])
def test_they_can_be_run(name: str) -> None:
    assert (FOLDER / name).stat().st_mode & 0o111
