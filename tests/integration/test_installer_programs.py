# SPDX-License-Identifier: GPL-3.0-or-later
"""What installers are told, checked by their own programs; the script beside them, run by a real shell."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from kubestead.installers import answer, rendering
from tests.integration.needs import require
from tests.integration.report_server import BootServer, serving
from tests.unit.installer_sample import AUTHORITY, KEY, PROOF, SYSTEMS, plan, settings

#: canonical/subiquity's autoinstall-schema.json, which cannot be part of this project.
SCHEMA = "KUBESTEAD_AUTOINSTALL_SCHEMA"
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "all": {
        "user": "ansible",
        "proxy": "http://10.0.0.10:3142",
        "domain": "home.arpa",
        "ntp": ("10.0.0.1", "10.0.0.2"),
        "dns": ("10.0.0.1",),
        "kernel_arguments": "console=ttyS0,115200n8 quiet",
        "packages": ("vim", "tmux"),
        "keyboard": "de",
        "timezone": "Europe/Berlin",
    },
}
variants = pytest.mark.parametrize("others", VARIANTS.values(), ids=VARIANTS)


@pytest.fixture(autouse=True)
def _no_overrides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "OVERRIDES", tmp_path / "overrides")


def accepts(*command: str, **environment: str) -> None:
    """Have a program say whether a file is right."""
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert not re.search(r"\b(?:warning|error|unknown)\b", said, re.IGNORECASE), said


@variants
@pytest.mark.parametrize("system", ["debian-12", "debian-13"])
def test_debconf_takes_the_preseed(system: str, others: dict[str, Any], tmp_path: Path) -> None:
    text = answer(plan(system, settings=settings(**others)), "preseed.cfg")
    file = tmp_path / "preseed.cfg"
    file.write_text(text)
    # With a database of its own: that of this computer is locked while somebody installs packages.
    settings_of_debconf = tmp_path / "debconf.conf"
    settings_of_debconf.write_text(
        "Config: configdb\nTemplates: templatedb\n\n"
        f"Name: configdb\nDriver: File\nFilename: {tmp_path}/config.dat\n\n"
        f"Name: templatedb\nDriver: File\nFilename: {tmp_path}/templates.dat\n"
    )
    accepts(
        require("debconf-set-selections", "debconf"),
        "--checkonly",
        str(file),
        DEBCONF_SYSTEMRC=str(settings_of_debconf),
    )
    # Which takes more than the installer does: there each line is owner, question, type and value.
    for line in text.splitlines():
        assert re.fullmatch(
            r"(?:#.*)?|\S+ \S+/\S+ (?:string|boolean|select|multiselect|password|note)(?: .*)?", line
        )
    questions = [line.split()[1] for line in text.splitlines() if line and not line.startswith("#")]
    assert len(questions) == len(set(questions))


@variants
@pytest.mark.parametrize("system", ["rocky-10", "rhel-10"])
def test_pykickstart_takes_the_kickstart(system: str, others: dict[str, Any], tmp_path: Path) -> None:
    one = plan(system, settings=settings(**others))
    script = answer(one, "install.sh")
    found = re.search(r'disk.ks" <<KUBESTEAD\n(.*?)KUBESTEAD\n', script, re.DOTALL)
    assert found
    disk = tmp_path / "disk.ks"
    disk.write_text(found[1].replace('${disk#"$dev"/}', "vda"))
    file = tmp_path / "ks.cfg"
    file.write_text(answer(one, "ks.cfg").replace("/tmp/kubestead/disk.ks", str(disk)))
    validator = str(Path(sys.executable).with_name("ksvalidator"))
    done = subprocess.run(
        [validator, "--followincludes", "--version", "RHEL10", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "deprecated" not in done.stdout + done.stderr


@variants
def test_subiquity_takes_the_autoinstall(others: dict[str, Any]) -> None:
    path = os.environ.get(SCHEMA)
    if not path:
        pytest.skip(f"{SCHEMA} does not name subiquity's autoinstall-schema.json")
    schema = json.loads(Path(path).read_text())
    text = answer(plan("ubuntu-24.04", settings=settings(**others)), "user-data")
    problems = jsonschema.Draft7Validator(schema).iter_errors(yaml.safe_load(text)["autoinstall"])
    assert [f"{each.json_path}: {each.message}" for each in problems] == []


@variants
def test_cloud_init_takes_its_part(others: dict[str, Any], tmp_path: Path) -> None:
    program = require("cloud-init", "cloud-init")
    one = plan("ubuntu-24.04", settings=settings(**others))
    inner = yaml.safe_load(answer(one, "user-data"))["autoinstall"]["user-data"]
    for name, text in (
        ("user-data", "#cloud-config\n" + yaml.safe_dump(inner)),
        ("vendor-data", answer(one, "vendor-data")),
    ):
        file = tmp_path / name
        file.write_text(text)
        done = subprocess.run(
            [program, "schema", "--config-file", str(file)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


@variants
@pytest.mark.parametrize("system", SYSTEMS)
def test_shellcheck_takes_the_script(system: str, others: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "install.sh"
    file.write_text(answer(plan(system, settings=settings(**others)), "install.sh"))
    accepts(require("shellcheck", "shellcheck"), "--shell=sh", str(file))


# The script, run by a real shell against a real server, on disks that are files.


@pytest.fixture
def server() -> Iterator[BootServer]:
    with serving() as known:
        yield known


TOOLS = [
    "blkid",
    "cat",
    "chmod",
    "cut",
    "dd",
    "grep",
    "head",
    "mkdir",
    "readlink",
    "rm",
    "sed",
    "sh",
    "sleep",
]
TOOLS += ["sync", "tail", "tr", "wc"]


@dataclass
class Computer:
    """Disks that are files, and a script whose power switches are only heard."""

    folder: Path
    server: BootServer
    client: str

    def __post_init__(self) -> None:
        self.tools = self.folder / "bin"
        self.tools.mkdir()
        for name in (*TOOLS, self.client):
            (self.tools / name).symlink_to(require(name, name))
        for name in ("poweroff", "reboot"):
            self.tool(name, f'echo "{name} $*" >>"{self.folder}/power"')
        for name in ("blockdev", "udevadm"):
            self.tool(name, "exit 0")
        self.tool("debconf-set", f'echo "$*" >>"{self.folder}/debconf"')
        (self.folder / "log").write_text("the first line\nthe last line\n")

    def tool(self, name: str, text: str) -> None:
        (self.tools / name).unlink(missing_ok=True)  # it may be a link to this computer's own
        (self.tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.tools / name).chmod(0o755)

    def disk(self, name: str, size: int = 64 << 20, removable: int = 0) -> Path:
        """A disk in the kernel's words and as a device, with a stable name."""
        about = self.folder / "sys" / "block" / name
        about.mkdir(parents=True)
        for key, value in (("size", size // 512), ("removable", removable), ("ro", 0)):
            (about / key).write_text(f"{value}\n")
        device = self.folder / "dev" / name
        links = device.parent / "disk" / "by-id"
        links.mkdir(parents=True, exist_ok=True)
        with device.open("wb") as stream:
            stream.truncate(size)
        (links / f"ata-{name}").symlink_to(device)
        return device

    def run(
        self, word: str, *, patience: int = 2, still: int = 900, least: int = 32 << 20, **others: Any
    ) -> str:
        """Run the script as the installer does; what it says."""
        shared = settings(base=f"http://127.0.0.1:{self.server.port}", user=others.pop("user", "root"))
        text = answer(plan("debian-13", settings=shared, **others), "install.sh")
        for before, after in {
            "\nsys=/sys\n": f"\nsys={self.folder}/sys\n",
            "\ndev=/dev\n": f"\ndev={self.folder}/dev\n",
            "\nrun='/tmp/kubestead'\n": f"\nrun={self.folder}/run\n",
            "\nlog='/var/log/syslog'\n": f"\nlog={self.folder}/log\n",
            "\npatience=600\n": f"\npatience={patience}\n",
            "\nstill=900\n": f"\nstill={still}\n",
            f"\nleast_bytes={3 << 30}\n": f"\nleast_bytes={least}\n",
            " insist 300 ": f" insist {patience} ",
            "+ 60))": "+ 2))",
            "sleep 5": "sleep 1",
            "set_up /target\n": f"set_up {self.folder}/target\n",
        }.items():
            assert before in text, before
            text = text.replace(before, after)
        script = self.folder / "run" / "install.sh"
        script.parent.mkdir(exist_ok=True)
        script.write_text(text)
        done = subprocess.run(
            [str(self.tools / "sh"), str(script), word],
            env={"PATH": str(self.tools)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert PROOF not in done.stdout + done.stderr
        assert "not found" not in done.stderr, done.stderr
        return done.stderr

    def heard(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture(params=["curl", "wget"])
def computer(request: pytest.FixtureRequest, tmp_path: Path, server: BootServer) -> Computer:
    return Computer(tmp_path, server, request.param)


@pytest.mark.parametrize(("folder", "method"), [("firmware/efi", "efi"), ("firmware/acpi", "biosgrub")])
def test_partitions_are_those_that_the_firmware_needs(computer: Computer, folder: str, method: str) -> None:
    computer.disk("sdx")
    (computer.folder / "sys" / folder).mkdir(parents=True)
    computer.run("disk", disk=None)
    recipe = computer.heard("debconf")[0]
    assert recipe.startswith("partman-auto/expert_recipe kubestead :: ")
    assert re.findall(r"method{ (\w+) }", recipe) == [method, "format"]
    assert "$iflabel{ gpt } $reusemethod{ }" in recipe


def test_the_only_disk_is_taken_when_the_server_agrees(computer: Computer, server: BootServer) -> None:
    disk = computer.disk("sdx")
    computer.disk("loop0")
    computer.disk("sdusb", removable=1)
    computer.run("disk", disk=None)
    assert server.said == [("installing", "disk")]
    name = f"{disk.parent}/disk/by-id/ata-sdx"
    assert server.reports[0]["message"] == f"writing to {name} (sdx), 0.0 GB"
    assert computer.heard("debconf")[1:] == [f"partman-auto/disk {disk}", f"grub-installer/bootdev {disk}"]
    assert computer.heard("power") == []
    assert disk.stat().st_size == 64 << 20


def test_a_named_disk_is_taken_among_others(computer: Computer, server: BootServer) -> None:
    computer.disk("sdw")
    disk = computer.disk("sdx")
    named = f"{disk.parent}/disk/by-id/ata-sdx"
    computer.run("disk", disk=named)
    assert computer.heard("debconf")[1] == f"partman-auto/disk {disk}"


def test_which_disk_is_a_question_for_a_person(computer: Computer, server: BootServer) -> None:
    computer.disk("sdw")
    computer.disk("sdx")
    computer.run("disk", disk=None)
    assert server.said == [("failed", "disk")]
    assert "there is more than one disk: " in server.reports[0]["message"]
    assert "ata-sdw (sdw, 0.0 GB)" in server.reports[0]["message"]
    assert "Set disk of node-1 in the registry to one of them" in server.reports[0]["message"]
    assert server.logs == ["the first line\nthe last line\n"]
    assert computer.heard("power") == ["poweroff -f"]
    assert computer.heard("debconf") == []


def test_a_disk_that_is_not_there_is_named_with_those_that_are(
    computer: Computer, server: BootServer
) -> None:
    computer.disk("sdx")
    computer.run("disk", disk="/dev/disk/by-id/ata-Gone")
    message = server.reports[0]["message"]
    assert message.startswith("there is no disk /dev/disk/by-id/ata-Gone; there are: ")
    assert "ata-sdx (sdx, 0.0 GB)" in message
    assert computer.heard("power") == ["poweroff -f"]


def test_a_disk_that_is_too_small_is_refused(computer: Computer, server: BootServer) -> None:
    computer.disk("sdx", 16 << 20)
    computer.run("disk", disk=None, least=3 << 30, overwrite=True)
    assert "(sdx) has 0.0 GB, debian-13 needs 3.2 GB" in server.reports[0]["message"]
    assert computer.heard("power") == ["poweroff -f"]


def test_what_is_on_a_disk_is_kept_unless_it_may_go(computer: Computer, server: BootServer) -> None:
    disk = computer.disk("sdx")
    subprocess.run([require("mkfs.ext4", "e2fsprogs"), "-q", str(disk)], check=True)
    part = computer.folder / "sys/block/sdx/sdx1"
    part.mkdir()
    (part / "partition").write_text("1\n")
    before = disk.read_bytes()
    computer.run("disk", disk=None)
    message = server.reports[0]["message"]
    assert "is not empty: ext4 with 1 partitions. Nothing was written." in message
    assert message.endswith("kubestead machines reinstall node-1")
    assert disk.read_bytes() == before
    assert computer.heard("power") == ["poweroff -f"]
    partition = disk.with_name("sdx1")
    partition.write_bytes(b"old" * (1 << 20))
    computer.run("disk", disk=None, overwrite=True)
    assert server.said[-1] == ("installing", "disk")
    assert disk.read_bytes()[: 4 << 20].strip(b"\0") == b""
    assert disk.read_bytes()[-(4 << 20) :].strip(b"\0") == b""
    assert partition.read_bytes()[: 2 << 20].strip(b"\0") == b""


@pytest.mark.parametrize(
    ("codes", "switch"), [([409], "poweroff -f"), ([403], "poweroff -f"), ([502] * 20, "reboot -f")]
)
def test_nothing_is_written_before_the_server_agrees(
    computer: Computer, server: BootServer, codes: list[int], switch: str
) -> None:
    disk = computer.disk("sdx")
    disk.write_bytes(b"data" * (16 << 20))
    before = disk.read_bytes()
    server.codes = list(codes)
    said = computer.run("disk", disk=None, overwrite=True)
    assert disk.read_bytes() == before
    assert computer.heard("power") == [switch]
    assert computer.heard("debconf") == []
    assert ("this is what the server says" in said) == (codes[0] != 502)


def test_a_server_that_is_away_for_a_while_is_waited_for(computer: Computer, server: BootServer) -> None:
    computer.disk("sdx")
    server.codes = [503]
    computer.run("disk", disk=None, patience=30)
    assert server.said == [("installing", "disk")]


def test_an_installer_that_fails_is_started_again_with_its_last_words(
    computer: Computer, server: BootServer
) -> None:
    log = computer.folder / "log"
    log.write_text(
        "Nov 21 19:30:01 main-menu[9]: INFO: Menu item 'bootstrap-base' selected\n"
        "Nov 21 19:30:02 debootstrap: E: Couldn't download packages, an error & more\n"
        "Nov 21 19:30:03 main-menu[9]: WARNING **: Menu item 'bootstrap-base' failed.\n"
    )
    computer.tool("sleep", "exit 0")
    computer.tool("reboot", f'echo "reboot $*" >>"{computer.folder}/power"; kill $PPID')
    computer.run("watch")
    assert server.said == [("failed", "download")]
    assert server.reports[0]["message"].startswith("the installer's step bootstrap-base failed:")
    assert "an error & more" in server.reports[0]["message"]
    assert "bootstrap-base" in server.logs[0]
    assert computer.heard("power") == ["reboot -f"]


def test_an_installer_that_waits_for_an_answer_is_started_again(
    computer: Computer, server: BootServer
) -> None:
    log = computer.folder / "log"
    log.write_text("Nov 21 19:30:01 anna[9]: WARNING **: bad file\n")
    # Time goes by in the moment that somebody sleeps, and a lease is renewed.
    computer.tool("sleep", f'echo "Nov 21 19:30:02 udhcpc[7]: lease renewed" >>{log}')
    computer.tool("reboot", f'echo "reboot $*" >>"{computer.folder}/power"; kill $PPID')
    computer.run("watch", still=0)
    assert server.said[-1] == ("failed", "download")
    assert server.reports[-1]["message"].startswith("nothing has happened for 0 minutes; the last was: ")
    assert computer.heard("power") == ["reboot -f"]


def test_as_long_as_something_happens_it_is_told(computer: Computer, server: BootServer) -> None:
    log = computer.folder / "log"
    lines = [
        "Nov 21 19:30:01 main-menu[9]: INFO: Menu item 'download-installer' selected",
        "Nov 21 19:30:02 anna[9]: DEBUG: retrieving a part",
        "Nov 21 19:30:03 main-menu[9]: INFO: Menu item 'partman-base' selected",
        "Nov 21 19:30:04 main-menu[9]: INFO: Menu item 'bootstrap-base' selected",
        *["Nov 21 19:30:05 debootstrap: Unpacking a package"] * 18,
        "Nov 21 19:30:06 main-menu[9]: INFO: Menu item 'pkgsel' selected",
        "Nov 21 19:30:07 main-menu[9]: INFO: Menu item 'grub-installer' selected",
    ]
    (computer.folder / "lines").write_text("\n".join(lines) + "\n")
    # Each time the script looks again there is one line more; soon the disk is ours, in the end it is killed.
    computer.tool(
        "sleep",
        f"""cd {computer.folder}
n=$(wc -l <log)
[ "$n" -lt {len(lines)} ] || kill $PPID
[ "$n" -lt 2 ] || : >run/ours
head -n $((n + 1)) lines >log""",
    )
    log.write_text("")
    computer.run("watch")
    assert [(each["phase"], each["progress"]) for each in server.reports] == [
        ("download", "5"),
        ("disk", "20"),
        ("write", "20"),
        ("write", "21"),
        ("write", "22"),
        ("write", "70"),
        ("bootloader", "90"),
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to other accounts")
@pytest.mark.parametrize("user", ["root", "ansible"])
def test_the_system_is_set_up(computer: Computer, server: BootServer, user: str) -> None:
    target = computer.folder / "target"
    for name in ("etc/systemd/system", "root", "usr/local", "home/ansible"):
        (target / name).mkdir(parents=True)
    (target / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/bash\nansible:x:1000:1000::/home/ansible:/bin/bash\n"
    )
    # A system's own programs, as far as they are asked for.
    computer.tool("chroot", f'echo "$*" >>"{computer.folder}/chroot"')
    computer.run("late", user=user)
    agent = target / "etc/kubestead/agent.json"
    assert json.loads(agent.read_text())["install_token"] == PROOF
    assert agent.stat().st_mode & 0o777 == 0o600
    assert (target / "etc/kubestead/ca.crt").read_text() == AUTHORITY
    program = target / "usr/local/sbin/kubestead-agent"
    assert program.read_text() == "content of /scripts/kubestead-agent\n"
    assert program.stat().st_mode & 0o777 == 0o755
    assert (target / "etc/systemd/system/kubestead-first-boot.service").stat().st_mode & 0o777 == 0o644
    home = target / ("root" if user == "root" else "home/ansible")
    assert (home / ".ssh/authorized_keys").read_text() == f"{KEY}\n"
    assert (home / ".ssh").stat().st_mode & 0o777 == 0o700
    done = computer.heard("chroot")
    assert f"{target} systemctl enable kubestead-first-boot.service" in done
    sudoers = target / "etc/sudoers.d/kubestead"
    if user == "root":
        assert not sudoers.exists()
    else:
        assert sudoers.read_text() == "ansible ALL=(ALL:ALL) NOPASSWD: ALL\n"
        assert sudoers.stat().st_mode & 0o777 == 0o440
    assert server.said == [("installed", "done")]
    assert server.logs == ["the first line\nthe last line\n"]
