# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's own installers, really booted: as far as their first words to the State API."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from kubestead.installers import answer
from kubestead.model.lifecycle import INSTALL_PENDING, INSTALLING
from lab import MachineSpec
from lab.host import problems
from tests.e2e.initrd import unpack
from tests.e2e.installer_lab import InstallerLab, installer, installer_lab
from tests.figures import tell
from tests.integration.report_server import serving
from tests.unit.installer_sample import PROOF, plan, settings

pytestmark = pytest.mark.skipif(bool(os.geteuid() or problems()), reason="python -m lab check says why")

#: Emulated, on processors that others use too.
SECONDS = 1200
SPECS = {
    f"debian-{release}": MachineSpec(f"debian-{release}", f"10.77.0.{release}", disk=512 << 20, memory=1024)
    for release in ("12", "13")
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InstallerLab]:
    entries = {
        name: {
            "role": "worker",
            "architecture": "amd64",
            "os": name,
            "ip": spec.ip,
            "disk": f"/dev/disk/by-id/virtio-{spec.serial}",
        }
        for name, spec in SPECS.items()
    }
    installers = {f"debian-{release}": installer(release) for release in ("12", "13")}
    with installer_lab("installers", tmp_path_factory.mktemp("installers"), SPECS, entries) as running:
        for name, spec in SPECS.items():
            shutil.copytree(installers[name], running.folder / "boot" / "installers" / f"{name}-amd64")
            assert running.ask(f"/api/machines/{spec.mac}/install", {})["state"] == INSTALL_PENDING
        yield running


OLDER = pytest.mark.skipif(
    "KUBESTEAD_ALL_INSTALLERS" not in os.environ,
    reason="five minutes emulated, for the steps that 13's takes as well: ./test.sh install runs it",
)


@pytest.mark.parametrize("release", ["13", pytest.param("12", marks=OLDER)])
def test_the_installer_reports_itself(lab: InstallerLab, release: str) -> None:
    name = f"debian-{release}"
    spec = SPECS[name]
    begun = time.time()
    lab.lab.machines_up([spec])
    machine = lab.lab.machines.known(name)
    try:
        words = f"the installer of {name} has started"
        heard = lab.wait_words(spec.mac, words, SECONDS)
        at = datetime.fromisoformat(heard["at"].replace("Z", "+00:00")).timestamp()
        tell(f"{name}: {at - begun:.0f} s from power-on to its first words")
    finally:
        lab.off(machine)
    assert (heard["state"], heard["phase"]) == (INSTALLING, "boot")
    assert lab.told(spec.mac)["install"]["attempts"] == 1
    with machine.disk.open("rb") as disk:
        assert not any(block.strip(b"\0") for block in iter(lambda: disk.read(1 << 24), b""))
    # The secret with which it reports is in what it fetches, and in no log.
    for path in (lab.folder / "api.log", machine.folder / "serial.log"):
        assert "token=" not in path.read_text(errors="replace")


@pytest.mark.parametrize("release", ["13", "12"])
def test_the_script_is_run_by_the_installer_s_own_programs(release: str, tmp_path: Path) -> None:
    """By its shell, its wget and its blkid, on a disk that is a file; switches and debconf are only heard."""
    unpack(installer(release) / "initrd.gz", tmp_path)
    own = tmp_path / "tmp" / "own"
    for name in (
        "bin",
        "dev",
        "sys/block/sdx",
        "target/etc/systemd/system",
        "target/root",
        "target/usr/local",
    ):
        (own / name).mkdir(parents=True)
    for name, value in (("size", (64 << 20) // 512), ("removable", 0), ("ro", 0)):
        (own / "sys/block/sdx" / name).write_text(f"{value}\n")
    (own / "target/etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (own / "log").write_text("the last line\n")
    (tmp_path / "proc/uptime").write_text("100.50 200.00\n")
    (tmp_path / "dev/zero").write_bytes(bytes(8 << 20))  # as much of it as is asked for
    for name in ("chroot", "debconf-set", "poweroff", "reboot"):
        (own / "bin" / name).write_text(f'#!/bin/sh\necho "{name} $*" >>/tmp/own/heard\n')
        (own / "bin" / name).chmod(0o755)
    disk = own / "dev" / "sdx"
    disk.write_bytes(bytes(64 << 20))
    with serving() as server:

        def run(word: str, **others: Any) -> str:
            shared = settings(base=f"http://127.0.0.1:{server.port}")
            text = answer(plan(f"debian-{release}", disk=None, settings=shared, **others), "install.sh")
            for before, after in {
                "\nsys=/sys\ndev=/dev\n": "\nsys=/tmp/own/sys\ndev=/tmp/own/dev\n",
                "\nlog='/var/log/syslog'\n": "\nlog=/tmp/own/log\n",
                f"\nleast_bytes={3 << 30}\n": "\nleast_bytes=1000\n",
                "set_up /target\n": "set_up /tmp/own/target\n",
            }.items():
                assert before in text, before
                text = text.replace(before, after)
            (own / "install.sh").write_text(text)
            path = "/tmp/own/bin:/usr/sbin:/usr/bin:/sbin:/bin"
            inside = ["chroot", str(tmp_path), "/bin/sh", "/tmp/own/install.sh", word]
            done = subprocess.run(
                inside, env={"PATH": path}, capture_output=True, text=True, timeout=120, check=False
            )
            assert "not found" not in done.stderr, done.stderr
            heard = own / "heard"
            text = heard.read_text() if heard.exists() else ""
            heard.unlink(missing_ok=True)
            return text

        assert "debconf-set partman-auto/disk /tmp/own/dev/sdx\n" in run("disk")
        subprocess.run(["mkfs.ext4", "-q", str(disk)], check=True)
        before = disk.read_bytes()
        assert run("disk") == "poweroff -f\n"
        assert "is not empty: ext4. Nothing was written." in server.reports[-1]["message"]
        assert server.logs == ["the last line\n"]
        server.codes = [409]
        assert run("disk", overwrite=True) == "poweroff -f\n"
        assert disk.read_bytes() == before
        server.codes = [503]
        assert "debconf-set grub-installer/bootdev /tmp/own/dev/sdx\n" in run("disk", overwrite=True)
        assert disk.read_bytes()[: 4 << 20].strip(b"\0") == b""
        run("late")
        agent = own / "target/etc/kubestead/agent.json"
        assert json.loads(agent.read_text())["install_token"] == PROOF
        assert agent.stat().st_mode & 0o777 == 0o600
        assert (own / "target/usr/local/sbin/kubestead-agent").stat().st_mode & 0o777 == 0o755
        assert server.said == [
            ("installing", "disk"),
            ("failed", "disk"),
            ("installing", "disk"),
            ("installed", "done"),
        ]
