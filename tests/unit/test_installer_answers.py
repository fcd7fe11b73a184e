# SPDX-License-Identifier: GPL-3.0-or-later
"""Boot scripts and answers of the distributions' installers; tests/integration asks their own validators."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubestead.installers import (
    NoInstallerError,
    answer,
    answer_names,
    boot_script,
    problem,
    rendering,
)
from kubestead.model.debian_installer import InstallerError, Source, present, unpack
from kubestead.model.installers_needed import installers_needed
from tests.unit.installer_sample import DISK, KEY, MAC, PROOF, SYSTEMS, boot_folder, plan, settings

ANSWERS = {
    "debian-13": ("preseed.cfg", "install.sh"),
    "ubuntu-24.04": ("user-data", "meta-data", "vendor-data", "install.sh"),
    "rocky-10": ("ks.cfg", "install.sh"),
}


@pytest.fixture(autouse=True)
def _no_overrides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "OVERRIDES", tmp_path / "overrides")


@pytest.mark.parametrize("system", ANSWERS)
def test_the_secret_is_in_the_script_that_nobody_logs_and_nowhere_else(system: str) -> None:
    one = plan(system)
    assert answer_names(one) == ANSWERS[system]
    texts = {name: answer(one, name) for name in answer_names(one)}
    assert [name for name, text in texts.items() if PROOF in text] == ["install.sh"]
    for form in ("ipxe", "grub"):
        assert PROOF not in boot_script(one, form)
    with pytest.raises(NoInstallerError, match="has no shadow, only"):
        answer(one, "shadow")


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_boot_script_loads_kernel_and_initrd_and_goes_on_where_it_cannot(system: str) -> None:
    one = plan(system, settings=settings(kernel_arguments="console=ttyS0,115200n8"))
    lines = boot_script(one, "ipxe").splitlines()
    kernel = next(line for line in lines if line.startswith("kernel "))
    place = f"http://10.0.0.10/boot/installers/{system}-amd64/"
    assert kernel.startswith(f"kernel --name kernel {place}")
    assert f"&& initrd --name initrd {place}" in kernel
    assert kernel.endswith(" && boot ||")
    assert "initrd=initrd " in kernel
    assert f"http://10.0.0.10/boot/answers/{MAC}/" in kernel
    assert "BOOTIF=01-52-54-00-77-00-41" in kernel
    assert kernel.index("console=ttyS0,115200n8") > kernel.index("BOOTIF=")
    assert {line.split()[0] for line in lines} == {"imgfree", "kernel", "echo"}
    grub = boot_script(one, "grub")
    assert f"if linux (http,10.0.0.10)/boot/installers/{system}-amd64/" in grub
    assert "&&" not in grub  # GRUB does not know it
    told = set(re.findall(r"'([^']*)'", grub))
    assert {word for word in kernel.split(" && ")[0].split()[4:] if not word.startswith("initrd=")} == told


def test_a_port_of_the_boot_server_is_told_to_grub_too() -> None:
    one = plan("debian-13", settings=settings(base="http://10.0.0.10:8081"))
    assert "(http,10.0.0.10,8081)/boot/installers" in boot_script(one, "grub")


def test_debian_is_not_asked_what_dhcp_does_not_tell() -> None:
    kernel = boot_script(plan("debian-13"), "ipxe")
    assert (
        " netcfg/no_default_route=true netcfg/get_nameservers= hostname=node-1 log_host=10.0.0.10 " in kernel
    )
    named = plan("debian-13", hostname="node-1.home.arpa", settings=settings(dns=("10.0.0.1", "10.0.0.2")))
    kernel = boot_script(named, "ipxe")
    assert "netcfg/get_nameservers=10.0.0.1 hostname=node-1 domain=home.arpa" in kernel


def test_debian_takes_updates_from_the_mirrors_that_there_are() -> None:
    text = answer(plan("debian-12"), "preseed.cfg")
    assert "local0/repository string http://mirror.example/debian bookworm-updates main" in text
    assert "local1/repository string https://mirror.example/debian-security bookworm-security main" in text
    assert (
        "d-i mirror/http/hostname string mirror.example\nd-i mirror/http/directory string /debian\n" in text
    )
    others = settings(mirrors={"debian": "https://mirror.example:8443"}, proxy="http://10.0.0.10:3142")
    text = answer(plan("debian-13", settings=others), "preseed.cfg")
    assert "local1" not in text
    assert "d-i mirror/protocol select https\nd-i mirror/https/hostname string mirror.example:8443\n" in text
    assert (
        "d-i mirror/https/directory string /\nd-i mirror/https/proxy string http://10.0.0.10:3142\n" in text
    )


def test_autoinstall_names_everything_that_would_be_asked() -> None:
    data = yaml.safe_load(answer(plan("ubuntu-24.04", settings=settings(ntp=("10.0.0.1",))), "user-data"))
    install = data["autoinstall"]
    assert install["storage"]["layout"]["match"] == {"path": "KUBESTEAD_DISK"}
    assert install["apt"]["mirror-selection"]["primary"][0]["uri"] == "http://mirror.example/ubuntu"
    assert install["user-data"]["ntp"]["servers"] == ["10.0.0.1"]
    assert "identity" not in install
    assert yaml.safe_load(answer(plan("ubuntu-24.04"), "meta-data")) == {
        "instance-id": "install-1",
        "local-hostname": "node-1",
    }


@pytest.mark.parametrize(
    ("system", "tree"),
    [("rocky-10", "rocky/10/BaseOS/x86_64/os"), ("rhel-10", "rhel-10/BaseOS")],
)
def test_kickstart_takes_packages_from_the_tree(system: str, tree: str) -> None:
    assert f'url --url="http://mirror.example/{tree}"\n' in answer(plan(system), "ks.cfg")
    assert f"inst.repo=http://mirror.example/{tree} " in boot_script(plan(system), "ipxe")


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("user", ["root", "ansible"])
def test_the_script_lets_in_who_has_a_key(system: str, user: str) -> None:
    text = answer(plan(system, settings=settings(user=user)), "install.sh")
    assert f"\n{KEY}\n" in text
    assert ("NOPASSWD: ALL" in text) == (user != "root")
    assert "useradd --create-home --shell /bin/bash --password '*' 'ansible'" in text or user == "root"
    found = re.search(r"agent.json\" <<'KUBESTEAD'\n(.*?)KUBESTEAD\n", text, re.DOTALL)
    assert found
    assert json.loads(found[1]) == {
        "mac": MAC,
        "install_id": "install-1",
        "api_url": "https://10.0.0.10:8080",
        "install_token": PROOF,
        "base": "http://10.0.0.10",
    }


def test_the_script_knows_disk_and_whether_it_may_be_overwritten() -> None:
    first = answer(plan("debian-13"), "install.sh")
    assert f"\nwanted_disk='{DISK}'\noverwrite=0\n" in first
    again = answer(plan("debian-13", disk=None, overwrite=True, attempt=2), "install.sh")
    assert "\nwanted_disk=''\noverwrite=1\n" in again
    assert "installation install-1, attempt 2." in again


def test_what_stands_in_the_way_is_said_before_anything_boots(tmp_path: Path) -> None:
    for system in SYSTEMS:
        said = problem(plan(system), tmp_path)
        assert said
        assert f"{tmp_path}/installers/{system}-amd64 lacks " in said
    boot = boot_folder(tmp_path)
    assert [problem(plan(system), boot) for system in SYSTEMS] == [None] * len(SYSTEMS)
    nothing = settings(mirrors={})
    for system, name in (("debian-13", "debian"), ("ubuntu-24.04", "ubuntu"), ("rhel-10", "rhel")):
        said = problem(plan(system, settings=nothing), boot)
        assert said
        assert f"no mirror is set for {name}" in said
    assert (
        problem(plan("ubuntu-22.04"), boot) == "there is no installer for ubuntu-22.04, only for ubuntu-24.04"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{{ plan.os }} {% if %}", "preseed.cfg.j2 cannot be used: line 1: "),
        ("{{ plan.nothing }}", "preseed.cfg.j2 cannot be used: "),
        ("{{ 1 // 0 }}", "preseed.cfg.j2 cannot be used: "),
        ('{{ plan.os + "\\n" }}', "a value with a line break or control character"),
    ],
)
def test_a_template_of_somebody_is_used_or_its_fault_is_named(tmp_path: Path, text: str, words: str) -> None:
    boot = boot_folder(tmp_path / "boot")
    assert "d-i partman" in answer(plan("debian-13"), "preseed.cfg")
    own = tmp_path / "overrides" / "debian" / "preseed.cfg.j2"
    own.parent.mkdir(parents=True)
    own.write_text("d-i kubestead/own string {{ machine.hostname }}\n")
    assert answer(plan("debian-13"), "preseed.cfg") == "d-i kubestead/own string node-1\n"
    assert problem(plan("debian-13"), boot) is None
    own.write_text(text)
    said = problem(plan("debian-13"), boot)
    assert said
    assert words in said
    assert problem(plan("ubuntu-24.04"), boot) is None
    own.unlink()
    assert "d-i partman" in answer(plan("debian-13"), "preseed.cfg")


def test_installers_are_brought_for_machines_that_use_them() -> None:
    machines: list[dict[str, Any]] = [
        {"architecture": "amd64"},
        {"architecture": "arm64", "os": "debian-12", "install_method": "installer"},
        {"architecture": "amd64", "os": "rocky-10", "install_method": "image"},
    ]
    assert installers_needed(machines) == ["debian-12-arm64"]
    assert installers_needed(machines, "installer") == ["debian-12-arm64", "debian-13-amd64"]


def package(path: Path, *names: str) -> Path:
    """A Debian package with an installer's files."""
    root = path / "root"
    place = root / "usr/lib/debian-installer/images/13/amd64/text/debian-installer/amd64"
    place.mkdir(parents=True)
    for name in names:
        (place / name).write_text(f"{name} of 13")
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN/control").write_text(
        "Package: sample\nVersion: 1\nArchitecture: all\nMaintainer: T <t@example.org>\nDescription: d\n"
    )
    made = path / "sample.deb"
    subprocess.run(["dpkg-deb", "--build", str(root), str(made)], check=True, capture_output=True)
    return made


def test_debian_s_installer_is_unpacked_whole_or_not_named(tmp_path: Path) -> None:
    whole = package(tmp_path / "a", "linux", "initrd.gz", "pxelinux.0")
    dest = tmp_path / "dest"
    unpack(whole, "13", "amd64", dest)
    assert sorted(path.name for path in dest.iterdir()) == ["initrd.gz", "linux"]
    assert (dest / "linux").read_text() == "linux of 13"
    assert present(dest) == ""
    (dest / "version").write_text("1\n")
    assert present(dest) == "1"
    half = package(tmp_path / "b", "linux")
    with pytest.raises(InstallerError, match=r"initrd\.gz is missing"):
        unpack(half, "13", "amd64", dest)
    assert present(dest) == ""


def test_an_archive_without_the_package_is_named(tmp_path: Path) -> None:
    source = Source("http://mirror.example/debian", "13", "arm64", tmp_path)
    asked: list[list[str]] = []

    def run(argv: Any) -> str:
        asked.append(list(argv))
        return ""

    with pytest.raises(InstallerError, match="has no package debian-installer-13-netboot-arm64 in trixie"):
        source.refresh(run)
    assert [words[0] for words in asked] == ["apt-get", "apt-cache"]
    line = (tmp_path / "sources.list").read_text()
    assert line.startswith(
        "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.example"
    )
