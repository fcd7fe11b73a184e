# SPDX-License-Identifier: GPL-3.0-or-later
"""The fast installation and the rescue system: what a machine is told."""

from __future__ import annotations

import base64
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from kubestead import installers
from kubestead.installers import image
from kubestead.installers.plan import Form, InstallPlan
from kubestead.installers.settings import BootSettings
from kubestead.model.machine import Machine

MAC = "52:54:00:77:00:64"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGyPtzUsDVRaaZXuEQSaZnUSDpHpe7vDaKOZ2xrCOXpj me"
SETTINGS = BootSettings(
    base="http://10.0.0.10",
    api_url="https://10.0.0.10:8080",
    ssh_keys=(KEY,),
    kernel_arguments="console=ttyS0,115200n8",
    mirrors={"debian": "http://10.0.0.10:3142/debian"},
    domain="home.arpa",
)
TOKEN = "t" * 43
MACHINE = Machine(mac=MAC, hostname="k8s-1", role="worker", architecture="amd64")
PLAN = InstallPlan(MACHINE, SETTINGS, "an-install-id", attempt=2, token=TOKEN)
FORMS: tuple[Form, ...] = ("ipxe", "grub")


def built(boot_dir: Path, name: str, **more: object) -> Path:
    """Put something into a folder as the role does, with its manifest."""
    folder = boot_dir / name
    folder.mkdir(parents=True)
    (folder / "0000.zst").write_bytes(b"12345")
    (folder / "image.json").write_text(json.dumps({"files": {"0000.zst": 5}, **more}))
    return folder


@pytest.fixture
def boot_dir(tmp_path: Path) -> Path:
    """A boot server that has all."""
    deploy = tmp_path / "deploy/amd64"
    deploy.mkdir(parents=True)
    for name in ("vmlinuz", "initrd"):
        (deploy / name).touch()
    built(tmp_path, "images/debian-13-amd64", os="debian-13", architecture="amd64")
    built(tmp_path, "rescue/amd64")
    return tmp_path


def variables(text: str) -> dict[str, str]:
    """What a shell has read when it has read the answer."""
    done = subprocess.run(
        ["sh", "-eu", "-c", 'eval "$1"; set | grep ^KS_', "sh", text],
        check=True,
        capture_output=True,
        text=True,
    )
    values = (line.partition("=") for line in done.stdout.splitlines())
    return {name: value.strip("'") for name, _, value in values}


def test_an_image_that_is_there_can_be_installed(boot_dir: Path) -> None:
    assert image.problem(PLAN, boot_dir) is None


def test_an_image_that_is_missing_is_named_with_what_to_do(boot_dir: Path) -> None:
    plan = replace(PLAN, machine=replace(MACHINE, os="ubuntu-24.04"))
    said = str(image.problem(plan, boot_dir))
    assert "no image of ubuntu-24.04 for amd64" in said
    assert "install_method: installer" in said


def test_an_image_that_is_not_whole_is_none(boot_dir: Path) -> None:
    (boot_dir / "images/debian-13-amd64/0000.zst").write_bytes(b"123")
    assert "no image of debian-13" in str(image.problem(PLAN, boot_dir))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": 3}', '{"files": {"../x": "y"}}', "\udcff"])
def test_a_manifest_that_makes_no_sense_is_none(boot_dir: Path, text: str) -> None:
    manifest = boot_dir / "images/debian-13-amd64/image.json"
    manifest.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert "no image of debian-13" in str(image.problem(PLAN, boot_dir))


def test_an_image_in_a_place_that_is_not_its_own_is_refused(boot_dir: Path) -> None:
    built(boot_dir, "images/debian-12-amd64", os="debian-13", architecture="amd64")
    plan = replace(PLAN, machine=replace(MACHINE, os="debian-12"))
    assert "is not of debian-12" in str(image.problem(plan, boot_dir))


def test_without_the_installing_system_nothing_is_begun(boot_dir: Path) -> None:
    (boot_dir / "deploy/amd64/initrd").unlink()
    assert "lacks initrd" in str(image.problem(PLAN, boot_dir))
    assert "lacks initrd" in str(installers.rescue_problem(SETTINGS, "amd64", boot_dir))


def test_the_rescue_system_that_is_missing_is_named(boot_dir: Path) -> None:
    assert installers.rescue_problem(SETTINGS, "amd64", boot_dir) is None
    assert "no rescue system for arm64" in str(installers.rescue_problem(SETTINGS, "arm64", boot_dir))


@pytest.mark.parametrize("form", FORMS)
def test_a_boot_script_has_no_secret_and_says_where_to_ask(form: Form) -> None:
    text = image.boot_script(PLAN, form)
    assert TOKEN not in text
    for word in (
        "boot=kubestead",
        "kubestead=install",
        "kubestead.base=http://10.0.0.10",
        f"kubestead.mac={MAC}",
        "BOOTIF=01-52-54-00-77-00-64",
        "console=ttyS0,115200n8",
    ):
        assert word in text


@pytest.mark.parametrize("form", FORMS)
def test_the_rescue_system_boots_the_same_kernel_otherwise(form: Form) -> None:
    install, rescue = image.boot_script(PLAN, form), installers.rescue_script(MACHINE, SETTINGS, form)
    assert rescue == install.replace("kubestead=install", "kubestead=rescue").replace(
        "the installing system", "the rescue system"
    )


def test_grub_is_told_a_port_that_is_not_the_usual_one() -> None:
    plan = replace(PLAN, settings=replace(SETTINGS, base="http://10.0.0.10:8081"))
    assert "linux (http,10.0.0.10,8081)/boot/deploy/amd64/vmlinuz " in image.boot_script(plan, "grub")


def test_ipxe_goes_on_where_something_cannot_be_fetched() -> None:
    lines = image.boot_script(PLAN, "ipxe").splitlines()
    assert lines[1].endswith("&& initrd --name initrd http://10.0.0.10/boot/deploy/amd64/initrd && boot ||")
    assert lines[2:] == ["imgfree", "echo Kubestead: the installing system cannot be fetched"]


def test_the_answer_is_what_a_shell_reads() -> None:
    values = variables(image.answer(PLAN, "install.env"))
    assert base64.b64decode(values["KS_SSH_KEYS"]).decode() == f"{KEY}\n"
    assert values["KS_TOKEN"] == TOKEN
    assert values["KS_ATTEMPT"] == "2"
    assert values["KS_OVERWRITE"] == "0"
    assert values["KS_IMAGE"] == "http://10.0.0.10/boot/images/debian-13-amd64/image.json"
    assert values["KS_MIRROR"] == "http://10.0.0.10:3142/debian"
    assert values["KS_KERNEL_ARGUMENTS"] == "console=ttyS0,115200n8"
    assert (values["KS_HOSTNAME"], values["KS_DOMAIN"]) == ("k8s-1", "home.arpa")


def test_a_host_name_with_a_domain_is_taken_apart() -> None:
    plan = replace(PLAN, machine=replace(MACHINE, hostname="k8s-1.example.org"), overwrite=True)
    values = variables(image.answer(plan, "install.env"))
    assert (values["KS_HOSTNAME"], values["KS_DOMAIN"]) == ("k8s-1", "example.org")
    assert values["KS_OVERWRITE"] == "1"


def test_what_a_shell_could_take_for_more_is_quoted() -> None:
    plan = replace(PLAN, token="".join(("a'$(false)`", 'false`"; exit 3')))
    assert "KS_TOKEN='a'\\''$(false)`false`\"; exit 3'\n" in image.answer(plan, "install.env")
    done = subprocess.run(
        ["sh", "-eu", "-c", 'eval "$1"; printf %s "$KS_TOKEN"', "sh", image.answer(plan, "install.env")],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == plan.token


def test_the_rescue_answer_has_keys_and_no_token() -> None:
    values = variables(installers.rescue_answer(MACHINE, SETTINGS))
    assert set(values) == {"KS_MAC", "KS_HOSTNAME", "KS_BASE", "KS_SSH_KEYS", "KS_RESCUE"}
    assert base64.b64decode(values["KS_SSH_KEYS"]).decode() == f"{KEY}\n"


def test_the_one_answer_is_named() -> None:
    assert installers.answer_names(PLAN) == ("install.env",)
    with pytest.raises(installers.NoInstallerError, match=r"only install\.env"):
        installers.answer(PLAN, "preseed.cfg")
