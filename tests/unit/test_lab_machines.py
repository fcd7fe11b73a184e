# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual machines of the lab, as far as they can be tested without starting one."""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import host, machine_launch, qemu, qemu_probe
from lab.errors import InputError, LabError
from lab.homelab import Homelab
from lab.lab import Lab
from lab.machine import Machine
from lab.machine_commands import line, wanted
from lab.machine_spec import MachineSpec, address_for, parse_size
from lab.process import Process, boot_id
from lab.qemu_probe import EMULATED, KVM, Accelerator
from lab.qemu_qmp import ask
from lab.spec import NodeSpec, check_together

EMULATION = Accelerator(EMULATED, "for the test")
SPEC = MachineSpec("disk-1", "10.77.0.120", disk=8 << 20)


def test_a_machine_is_named_and_numbered_like_a_node() -> None:
    assert SPEC.mac == "52:54:00:4d:00:78" == NodeSpec("disk-1", "debian-13", "10.77.0.120").mac
    assert SPEC.serial == "5254004d0078"
    assert len(SPEC.tap) <= 15, "what the kernel takes as the name of an interface"
    assert MachineSpec.from_dict(SPEC.to_dict()) == SPEC
    with pytest.raises(InputError) as caught:
        check_together([SPEC, NodeSpec("disk-1", "debian-13", "10.77.0.120")])
    assert len(caught.value.problems) == 3


def test_all_that_is_wrong_with_a_machine_is_told_at_once() -> None:
    with pytest.raises(InputError) as caught:
        MachineSpec("X", "10.77.1.1", "zz", "coreboot", disk=5, memory=1)
    said = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 6
    assert "expected bios or uefi" in said
    assert "expected 1M to 16T" in said


def test_the_address_of_a_machine_is_the_same_each_time_and_free() -> None:
    first = address_for("disk-1", ())
    assert first == address_for("disk-1", {"10.77.0.11"})
    second = address_for("disk-1", {first})
    assert second != first
    everything = {f"10.77.0.{number}" for number in range(100, 200)}
    assert address_for("disk-1", everything - {first}) == first
    assert {address_for(f"m{number}", ()) for number in range(300)} <= everything
    with pytest.raises(InputError, match="no address of"):
        address_for("disk-1", everything)


def test_sizes() -> None:
    assert [parse_size(text) for text in ("1M", "8G", "2T")] == [1 << 20, 8 << 30, 2 << 40]
    for text in ("8", "8g", "0G", "-1G", "1.5G", "8GB", ""):
        with pytest.raises(InputError, match="for example 8G"):
            parse_size(text)


def options(**given: object) -> argparse.Namespace:
    """What was typed."""
    usual = {"names": ["disk-1"], "ip": None, "mac": None, "firmware": None, "disk": None, "memory": None}
    return argparse.Namespace(**{**usual, **given})


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("KUBESTEAD_LAB_HOME", str(tmp_path))
    return Lab("unit")


def test_a_machine_becomes_what_was_typed_or_is_what_it_was(lab: Lab) -> None:
    [new] = wanted(lab, options())
    assert (new.firmware, new.disk, new.memory) == ("bios", 8 << 30, 1024)
    lab.machines.get("disk-1").make(MachineSpec("disk-1", new.ip, firmware="uefi", disk=4 << 20))
    assert wanted(lab, options()) == [MachineSpec("disk-1", new.ip, firmware="uefi", disk=4 << 20)]
    [moved] = wanted(lab, options(ip="10.77.0.150", memory=512))
    assert (moved.ip, moved.mac, moved.memory) == ("10.77.0.150", "52:54:00:4d:00:96", 512)
    [marked] = wanted(lab, options(mac="52-54-00-AA-BB-CC"))
    assert (marked.ip, marked.mac) == (new.ip, "52:54:00:aa:bb:cc")
    two = wanted(lab, options(names=["one", "two"]))
    assert len({spec.ip for spec in two}) == 2


def test_a_machine_of_the_registry_has_its_address_and_mac(lab: Lab) -> None:
    [spec] = wanted(lab, options(names=["lab-worker-1"]))
    assert (spec.ip, spec.mac) == ("10.77.0.21", "52:54:00:77:00:21")
    assert wanted(lab, options(names=["lab-worker-1"], memory=512))[0].mac == spec.mac


def test_making_twice_and_making_another(lab: Lab) -> None:
    machine = lab.machines.get("disk-1")
    assert machine.state() == "unfinished"
    machine.folder.mkdir(parents=True)
    (machine.folder / "half").touch()
    machine.make(SPEC)
    assert not (machine.folder / "half").exists(), "what was left half-made is made anew"
    assert machine.state() == "off"
    assert (machine.disk.stat().st_size, machine.disk.stat().st_blocks) == (8 << 20, 0)
    machine.disk.write_bytes(b"installed".ljust(8 << 20, b"\0"))
    machine.make(SPEC)
    machine.make(MachineSpec("disk-1", "10.77.0.121", disk=8 << 20, memory=2048))
    assert machine.disk.read_bytes().startswith(b"installed")
    for other in (
        MachineSpec("disk-1", SPEC.ip, firmware="uefi", disk=8 << 20),
        MachineSpec("disk-1", SPEC.ip, disk=9 << 20),
    ):
        with pytest.raises(InputError, match="machine wipe disk-1"):
            machine.make(other)
    assert [spec.memory for spec in lab.machines.specs()] == [2048]
    assert lab.machines.known("disk-1").name == "disk-1"
    with pytest.raises(InputError, match=r"no machine 'disk-2'; it has: disk-1"):
        lab.machines.known("disk-2")
    machine.wipe()
    assert not machine.folder.exists()


# Stands in for QEMU: the launcher's own claim, then no more.
_HOLDER = (
    "import os, sys, time; os.chdir(sys.argv[1]); sys.path.insert(0, sys.argv[2])\n"
    "import machine_launch; print(machine_launch._claim(), flush=True); time.sleep(600)"
)


@pytest.fixture
def holder(lab: Lab) -> Iterator[subprocess.Popen[str]]:
    """A process that is the machine."""
    lab.machines.get("disk-1").make(SPEC)
    process = hold(lab.machines.get("disk-1"))
    assert process.stdout
    assert process.stdout.readline() == "True\n"
    yield process
    process.kill()
    process.communicate()


def hold(machine: Machine) -> subprocess.Popen[str]:
    source = str(Path(machine_launch.__file__).parent)
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _HOLDER, str(machine.folder), source],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_the_plug_is_pulled(lab: Lab, holder: subprocess.Popen[str]) -> None:
    machine = lab.machines.get("disk-1")
    assert machine.process == Process.of(holder.pid)
    assert machine.state() == "running"
    second = hold(machine)
    assert second.stdout
    assert second.stdout.readline() == "False\n", "a machine runs once"
    second.kill()
    second.communicate()
    with pytest.raises(InputError, match="machine off disk-1"):
        machine.make(MachineSpec("disk-1", SPEC.ip, disk=8 << 20, memory=2048))
    machine.cut()
    assert holder.wait(5) == -9
    assert machine.state() == "off"
    machine.cut()


def test_a_machine_that_hears_no_button_is_cut_off(lab: Lab, holder: subprocess.Popen[str]) -> None:
    lab.machines.get("disk-1").power_off(0)
    assert holder.wait(5) == -9


def test_another_process_of_the_same_number_is_left_alone(lab: Lab) -> None:
    machine = lab.machines.get("disk-1")
    machine.make(SPEC)
    with subprocess.Popen(["sleep", "600"]) as other:
        found = Process.of(other.pid)
        assert found
        (machine.folder / "run.json").write_text(
            json.dumps({"pid": found.pid, "started": found.started + 1, "boot": boot_id()})
        )
        assert machine.state() == "off"
        machine.wipe()
        assert other.poll() is None
        other.kill()


def test_the_command_line() -> None:
    folder = Path("/labs/a,b/machines/disk-1")
    bios = qemu.command(SPEC, folder, EMULATION)
    words = " ".join(bios)
    assert "file=/labs/a,,b/machines/disk-1/disk.img," in words
    assert "-accel tcg -cpu max,-cx16 -smp 1 " in words
    assert "mac=52:54:00:4d:00:78,bootindex=1 " in words
    assert "pflash" not in words
    assert "-no-reboot" in bios
    efi = " ".join(
        qemu.command(MachineSpec("disk-1", SPEC.ip, firmware="uefi"), folder, Accelerator(KVM, ""))
    )
    assert "-accel kvm -cpu host -smp " in efi
    assert "-no-reboot" not in efi
    assert "bootindex=1,romfile= " in efi
    assert "file=/labs/a,,b/machines/disk-1/uefi-variables.fd" in efi
    assert sum(qemu.TAP in word for word in bios) == 1


def test_a_line_of_the_list() -> None:
    shown = line(
        {"name": "disk-1", "state": "running", "accelerator": "tcg", "ip": "10.77.0.120", "firmware": "bios"}
    )
    assert shown.split() == ["disk-1", "bios", "10.77.0.120", "running", "(tcg)"]
    assert line({"name": "half", "state": "unfinished", "accelerator": None}).split() == [
        "half",
        "unfinished",
    ]


def test_the_status_tells_of_machines(lab: Lab) -> None:
    lab.machines.get("disk-1").make(SPEC)
    [told] = Homelab.read(lab).status()["virtual_machines"]
    assert {**SPEC.to_dict(), "state": "off", "accelerator": None}.items() <= told.items()
    assert told["serial_log"] == str(lab.folder / "machines/disk-1/serial.log")


def test_a_lab_without_machines_asks_for_no_qemu() -> None:
    assert not set(qemu.PROGRAMS.values()) & set(host._PROGRAMS.values())
    assert host.missing_packages({"/no/such/file": "ovmf", "sh": "dash"}) == ["ovmf"]


def test_the_probe_is_a_boot_sector() -> None:
    sector = qemu_probe.boot_sector()
    assert len(sector) == 512
    assert sector.endswith(b"\x55\xaa")
    assert sector.index(bytes.fromhex("0f0116b07c")) < 0xA0, "lgdt of the pointer at 0x7cb0"
    assert sector[0xB0:0xB6] == bytes.fromhex("0f00a07c0000"), "16 bytes at 0x7ca0"


def program(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_how_machines_run_is_found_out_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = tmp_path / "count"
    sector = f"case $* in *isa-debug-exit*) echo >> {count}; exit 85;; esac"
    works = program(tmp_path / "works", f"{sector}; echo kubestead pcbios works; exec sleep 600")
    breaks = program(
        tmp_path / "breaks", f"{sector}; echo KVM internal error. Suberror: 1 >&2; exec sleep 600"
    )
    fails = program(tmp_path / "fails", "echo 'kvm: no guests here' >&2; exit 1")
    silent = program(tmp_path / "silent", "exec sleep 600")
    monkeypatch.setattr(qemu_probe, "DEVICE", tmp_path / "kvm")

    def found(name: str, tried: str) -> Accelerator:
        monkeypatch.setattr(qemu_probe, "PROGRAM", tried)
        (tmp_path / "labs" / name).mkdir(exist_ok=True, parents=True)
        return qemu_probe.choose(tmp_path / "labs" / name)

    assert found("none", works) == Accelerator(EMULATED, f"there is no {tmp_path / 'kvm'}")
    (tmp_path / "kvm").touch()
    assert found("fails", fails).kind == EMULATED
    assert "no guests here" in str(found("fails", fails))
    with monkeypatch.context() as impatient:
        impatient.setattr(qemu_probe, "_SECONDS", 0.2)
        assert "did not end in 0.2 s" in found("silent", silent).reason
    assert "`KVM internal error`" in found("breaks", breaks).reason
    count.unlink()
    assert found("works", works).kind == KVM
    assert found("works", works).kind == KVM
    assert count.read_text() == "\n", "the second time it was known"
    cache = tmp_path / "labs/works/accelerator.json"
    known = json.loads(cache.read_text())
    cache.write_text(json.dumps({**known, "boot": "another"}))
    assert found("works", fails).kind == EMULATED
    assert found("none", works).kind == EMULATED, "until the next boot"


def test_questions_to_qemu(tmp_path: Path) -> None:
    folder = tmp_path / ("a" * 100) / ("b" * 100)
    folder.mkdir(parents=True)
    replies = {"query-status": {"return": {"status": "running"}}, "quit": {"error": {"desc": "not now"}}}

    def serve(server: socket.socket) -> None:
        for _ in range(2):
            connection, _ = server.accept()
            with connection, connection.makefile("rw") as stream:
                stream.write('{"QMP": {}}\n')
                stream.flush()
                for text in stream:
                    word = json.loads(text)["execute"]
                    answer = replies.get(word, {"return": {}})
                    stream.write('{"event": "RESET"}\n' + json.dumps(answer) + "\n")
                    stream.flush()

    with socket.socket(socket.AF_UNIX) as server:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            server.bind("qmp.sock")
        server.listen()
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        assert ask(folder / "qmp.sock", "query-status") == {"status": "running"}
        with pytest.raises(LabError, match="not now"):
            ask(folder / "qmp.sock", "quit")
        thread.join(5)
    with pytest.raises(ConnectionRefusedError):
        ask(folder / "qmp.sock", "quit")


def test_the_console(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "serial.sock"))
        server.listen()
        code = f"import pathlib, lab.machine_console as c; c.attach(pathlib.Path('{tmp_path}/serial.sock'))"
        with subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as terminal:
            machine, _ = server.accept()
            with machine:
                machine.sendall(b"login: ")
                assert terminal.stdin
                assert terminal.stdout
                terminal.stdin.write("root\n")
                terminal.stdin.flush()
                assert machine.recv(100) == b"root\n"
                terminal.stdin.write("\x1d")
                terminal.stdin.flush()
                assert machine.recv(100) == b""
            assert terminal.wait(5) == 0
            assert terminal.stdout.read() == "login: "
