# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that installs: which disk it takes and which it refuses, on files that stand for disks."""

from __future__ import annotations

import os
import shlex
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

DEPLOY = Path(__file__).resolve().parents[2] / "roles/boot_images/files/initramfs/deploy"
MIB = 1 << 20
IMAGE = 64 * MIB  # with the layout and what is to be free, a disk needs 578 MiB
DISK = 600 * MIB


class Initrd:
    """The program's functions, in a machine of files: /sys, /dev and the network are folders."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dev, self.sys, self.served = folder / "dev", folder / "sys", folder / "served"
        for each in (
            self.dev / "disk/by-id",
            self.sys / "block",
            self.served,
            folder / "bin",
            folder / "work",
        ):
            each.mkdir(parents=True)
        self.program("wget", 'echo "$*" >>"$FAKE/asked"; sh "$FAKE/wget" "$@"')
        (folder / "wget").write_text("exit 1\n")

    def program(self, name: str, script: str) -> None:
        """Put a program on the machine."""
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def disk(self, name: str, size: int = DISK, removable: int = 0, by_id: str = "") -> Path:
        """Put a disk into the machine."""
        path = self.dev / name
        with path.open("wb") as stream:
            stream.truncate(size)
        block = self.sys / "block" / name
        block.mkdir()
        for key, value in {"removable": removable, "ro": 0, "size": size // 512}.items():
            (block / key).write_text(f"{value}\n")
        if by_id:
            (self.dev / "disk/by-id" / by_id).symlink_to(path)
        return path

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run shell after the program's functions were read."""
        environment = {
            "PATH": f"{self.folder}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "FAKE": str(self.folder),
            "KUBESTEAD_WORK": str(self.folder / "work"),
            "KUBESTEAD_SYS": str(self.sys),
            "KUBESTEAD_DEV": str(self.dev),
            "KS_HOSTNAME": "k8s-1",
        }
        return subprocess.run(
            ["sh", "-c", f". {shlex.quote(str(DEPLOY))}; {script}"],
            env=environment, capture_output=True, text=True, check=False, timeout=20,
        )  # fmt: skip

    def said(self, script: str) -> str:
        """What it prints; it has to succeed, and to complain of nothing."""
        done = self.run(script)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.strip()

    def refusal(self, disk: Path, overwrite: int = 0) -> str:
        """Why a disk is refused; empty if it is taken."""
        return self.said(f"refusal {disk} {IMAGE} {overwrite}")


@pytest.fixture
def initrd(tmp_path: Path) -> Initrd:
    """A machine without disks."""
    return Initrd(tmp_path)


def test_an_empty_disk_is_taken(initrd: Initrd) -> None:
    assert initrd.refusal(initrd.disk("vda")) == ""


def test_a_disk_that_is_too_small_is_refused_even_to_be_overwritten(initrd: Initrd) -> None:
    disk = initrd.disk("vda", 577 * MIB)
    assert initrd.refusal(disk, overwrite=1) == f"The disk {disk} has 577 MiB, at least 578 are needed."


def filled(disk: Path, *argv: str, given: str = "") -> None:
    """Let a program write to a disk."""
    environment = {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    subprocess.run(
        [*argv, str(disk)], input=given, text=True, check=True, capture_output=True, env=environment
    )


def test_a_partition_table_is_not_overwritten_unasked(initrd: Initrd) -> None:
    disk = initrd.disk("vda", by_id="ata-GOOD_1")
    with disk.open("r+b") as stream:  # one partition of type Linux
        stream.write(
            bytes(446) + b"\0\0\2\0\x83\0\0\0" + struct.pack("<II", 2048, 4096) + bytes(48) + b"\x55\xaa"
        )
    said = initrd.refusal(disk)
    assert "ata-GOOD_1 is not empty (dos), so it was not touched" in said
    assert "kubestead machines reinstall k8s-1" in said
    assert initrd.refusal(disk, overwrite=1) == ""


def test_a_file_system_without_a_table_is_not_overwritten(initrd: Initrd) -> None:
    disk = initrd.disk("vda")
    filled(disk, "mkfs.ext4", "-q", "-F")
    assert "is not empty (ext4)" in initrd.refusal(disk)


def test_a_swap_area_is_not_overwritten(initrd: Initrd) -> None:
    disk = initrd.disk("vda")
    filled(disk, "mkswap")
    assert "is not empty (swap)" in initrd.refusal(disk)


@pytest.mark.parametrize(("place", "said"), [(4096, "first MiB"), (DISK - 512, "last MiB")])
def test_what_nobody_knows_is_not_overwritten_either(initrd: Initrd, place: int, said: str) -> None:
    disk = initrd.disk("vda")
    with disk.open("r+b") as stream:
        stream.seek(place)
        stream.write(b"something")
    assert f"is not empty (something in its {said})" in initrd.refusal(disk)


def test_the_only_disk_is_found_among_what_is_none(initrd: Initrd) -> None:
    disk = initrd.disk("nvme0n1")
    for name in ("loop0", "sr0", "zram0", "dm-0", "md0", "mmcblk0boot0"):
        initrd.disk(name)
    initrd.disk("sda", removable=1)
    initrd.disk("sdb", size=0)
    assert initrd.said('find_disk ""; echo "$DISK|$WHY"') == f"{disk}|"


def test_of_several_disks_none_is_taken_and_all_are_named(initrd: Initrd) -> None:
    initrd.disk("sda", by_id="ata-ONE")
    initrd.disk("sdb", size=2 * DISK, by_id="ata-TWO")
    said = initrd.said('find_disk ""; echo "$DISK|$WHY"')
    assert said.startswith("|There are several disks: ")
    assert "by-id/ata-ONE (600 MiB)" in said
    assert "by-id/ata-TWO (1200 MiB)" in said


def test_no_disk_is_said(initrd: Initrd) -> None:
    assert initrd.said('find_disk ""; echo "$DISK|$WHY"').startswith("|There is no disk.")


def test_a_disk_by_its_name_is_found(initrd: Initrd) -> None:
    initrd.disk("sda", by_id="ata-ONE")
    wanted = initrd.disk("sdb", by_id="ata-TWO")
    assert initrd.said(f'find_disk {initrd.dev}/disk/by-id/ata-TWO; echo "$DISK|$WHY"') == f"{wanted}|"


def test_a_disk_that_is_not_there_is_said_with_those_that_are(initrd: Initrd) -> None:
    initrd.disk("sda", by_id="ata-ONE")
    said = initrd.said(f'find_disk {initrd.dev}/disk/by-id/ata-GONE; echo "$DISK|$WHY"')
    assert "ata-GONE is not there" in said
    assert "by-id/ata-ONE (600 MiB)" in said


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("exit 0", 0),
        ("echo 'wget: server returned error: HTTP/1.1 409 Conflict' >&2; exit 1", 2),
        ("echo 'wget: server returned error: HTTP/1.1 404 Not Found' >&2; exit 1", 2),
        ("echo 'wget: server returned error: HTTP/1.1 429 Too Many Requests' >&2; exit 1", 1),
        ("echo 'wget: server returned error: HTTP/1.1 502 Bad Gateway' >&2; exit 1", 1),
        ("echo 'wget: can not connect to remote host: Connection refused' >&2; exit 1", 1),
    ],
)
def test_what_passes_is_told_from_what_does_not(initrd: Initrd, answer: str, code: int) -> None:
    (initrd.folder / "wget").write_text(f"{answer}\n")
    assert initrd.run('fetch "$WORK/x" http://10.0.0.10/y').returncode == code


def test_it_is_patient_with_what_passes_only(initrd: Initrd) -> None:
    script = 'tries=0; try() { tries=$((tries + 1)); [ "$tries" -ge 2 ] || return 1; return 2; }; '
    assert initrd.said(f'{script} patiently 1 try || echo "$? after $tries"') == "2 after 2"


def test_a_disk_that_udev_still_looks_at_is_waited_for(initrd: Initrd) -> None:
    """As after a reinstallation wiped its partitions: BLKRRPART is refused while one of them is open."""
    busy = 'echo "ioctl error on BLKRRPART: Device or resource busy" >&2; exit 1'
    initrd.program("udevadm", 'echo "udevadm $*" >>"$FAKE/heard"')
    initrd.program(
        "blockdev", f'echo "blockdev $*" >>"$FAKE/heard"; [ $(wc -l <"$FAKE/heard") -ge 4 ] || {{ {busy}; }}'
    )
    assert initrd.said("patiently 1 forget /dev/vda") == ""
    heard = (initrd.folder / "heard").read_text().splitlines()
    assert heard == ["udevadm settle --timeout=60", "blockdev --rereadpt /dev/vda"] * 2
    assert "busy" in (initrd.folder / "work/log").read_text(), "why it took so long can be read"


def test_a_report_is_encoded_and_its_token_in_no_argument_or_log(initrd: Initrd) -> None:
    (initrd.folder / "wget").write_text("exit 0\n")
    done = initrd.run("KS_TOKEN=secret KS_BASE=http://10.0.0.10; report failed disk 10 'a+b & 100 % = c; d'")
    sent = (initrd.folder / "work/report").read_text()
    assert sent == "token=secret&state=failed&phase=disk&progress=10&message=a%2Bb+%26+100+%25+%3D+c%3B+d"
    assert "secret" not in done.stdout + done.stderr + (initrd.folder / "asked").read_text()
    assert "secret" not in (initrd.folder / "work/log").read_text()


def test_a_part_with_a_wrong_checksum_is_not_taken(initrd: Initrd) -> None:
    (initrd.folder / "wget").write_text('while [ "$1" != -O ]; do shift; done; echo data >"$2"\n')
    good = "6667b2d1aab6a00caa5aee5af8ad9f1465e567abf1c209d15727d57b3e8f6e5f"
    assert initrd.run(f"PARTS=http://x; fetch_part {good} 0000.zst").returncode == 0
    assert initrd.run(f"PARTS=http://x; fetch_part {'0' * 64} 0000.zst").returncode == 1


def test_a_manifest_is_read_as_the_role_writes_it(initrd: Initrd) -> None:
    manifest = initrd.folder / "image.json"
    manifest.write_text('{\n "name": "images/debian-13-amd64",\n "size": 442499072,\n "folder": "x.1"\n}\n')
    for key, expected in {"name": "images/debian-13-amd64", "size": "442499072", "folder": "x.1"}.items():
        assert initrd.said(f"value {key} {manifest}") == expected


SFDISK = shutil.which("sfdisk", path="/usr/sbin:/sbin:/usr/bin:/bin")


@pytest.mark.skipif(SFDISK is None, reason="sfdisk is not installed (apt-get install fdisk)")
def test_the_table_has_the_layout_and_keeps_the_boot_code(initrd: Initrd) -> None:
    disk = initrd.disk("vda", 1024 * MIB)
    with disk.open("r+b") as stream:
        stream.write(b"G" * 440)
    initrd.said(f"DISK={disk}; write_table")
    said = subprocess.run(
        [str(SFDISK), "--dump", str(disk)], check=True, capture_output=True, text=True
    ).stdout
    starts = [
        line.partition("start=")[2].split(",")[0].strip() for line in said.splitlines() if "start=" in line
    ]
    assert starts == ["2048", "4096", str(258 * 2048)]
    first = disk.read_bytes()[:512]
    assert first[:440] == b"G" * 440
    assert (first[446], first[510:]) == (0x80, b"\x55\xaa")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("console=ttyS0,115200n8", "serial --unit=0 --speed=115200; terminal_output console serial"),
        ("console=tty0 console=ttyS1", "serial --unit=1 --speed=9600; terminal_output console serial"),
        ("quiet", ""),
    ],
)
def test_the_menu_is_where_the_console_is(initrd: Initrd, arguments: str, said: str) -> None:
    assert initrd.said(f"KS_KERNEL_ARGUMENTS='{arguments}'; terminal") == said


def test_the_network_stays_first_in_the_boot_order_and_the_disk_comes_behind(initrd: Initrd) -> None:
    (initrd.sys / "firmware/efi").mkdir(parents=True)
    listed = (
        "BootCurrent: 0003\nBootOrder: 0009,0002,0003,0004,0005\nBoot0002* UEFI QEMU disk\n"
        "Boot0003* UEFI PXEv4 (MAC:525400770064)\nBoot0005* debian-rescue\n"
    )
    (initrd.folder / "before").write_text(f"{listed}Boot0009* debian\tHD(1,GPT)\n")
    after = listed.replace("0009,", "")
    (initrd.folder / "after").write_text(f"{after}Boot0001* debian\tHD(2,GPT)\n")
    initrd.program(
        "efibootmgr",
        'echo "$*" >>"$FAKE/efi"; case "$*" in "") cat "$FAKE/before" ;; *create*) cat "$FAKE/after" ;; esac',
    )
    for name in ("modprobe", "mount"):
        initrd.program(name, "exit 0")
    initrd.said("DISK=/dev/vda; order_efi_boot")
    asked = (initrd.folder / "efi").read_text().splitlines()
    assert "--quiet --bootnum 0009 --delete-bootnum" in asked
    assert asked[-1] == "--quiet --bootorder 0003,0001,0002,0004,0005"
