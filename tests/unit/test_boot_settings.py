# SPDX-License-Identifier: GPL-3.0-or-later
"""What every installation shares: nothing that means more than it says gets into it."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from kubestead.installers import BootSettings, InstallPlan, SettingsError, SettingsFile
from kubestead.model.machine import Machine

KEY = "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519" + b"\0\0\0\x20" + bytes(range(32))).decode()
PEM = "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUQ0Y=\n-----END CERTIFICATE-----\n"
PLAIN: dict[str, Any] = {"base": "http://10.0.0.10", "api_url": "https://10.0.0.10:8080", "ssh_keys": [KEY]}

GOOD: list[dict[str, Any]] = [
    {},
    {"base": "http://pxe.home.arpa:8081"},
    {"base": "http://[fd77::10]"},
    {"api_url": "http://10.0.0.10:8080", "api_ca": ""},
    {"api_ca": PEM + PEM},
    {"api_ca": PEM.replace("\n", "\r\n")},
    {"method": "installer"},
    {"user": "ansible"},
    {"mirrors": {"debian": "http://10.0.0.2:3142/debian", "debian-security": "https://m.example/s/"}},
    {"proxy": "http://10.0.0.10:3142"},
    {"domain": "home.arpa"},
    {"timezone": "America/Argentina/Buenos_Aires"},
    {"locale": "C.UTF-8"},
    {"keyboard": "de"},
    {"ntp": ["ntp.example.org", "10.0.0.1", "fd77::1"], "dns": ["10.0.0.1", "fd77::1"]},
    {"kernel_arguments": "console=tty0 console=ttyS0,115200n8 net.ifnames=0"},
    {"packages": ["vim", "linux-image-amd64", "libstdc++6", "NetworkManager"]},
    {"local_boot": {"pcbios": "exit", "efi": "sanboot"}},
]

BAD: list[tuple[dict[str, Any], str]] = [
    ({"base": "https://10.0.0.10"}, "base"),
    ({"base": "http://10.0.0.10/boot"}, "base"),
    ({"base": "http://user:pw@10.0.0.10"}, "base"),
    ({"base": "http://10.0.0.10 init=/bin/sh"}, "base"),
    ({"base": "http://10.0.0.10\nboot"}, "base"),
    ({"base": "http://[::g]"}, "base"),
    ({"base": "http://10.0.0.10:99999"}, "base"),
    ({"base": "http://10.0.0.10:0"}, "base"),
    ({"base": None}, "base"),
    ({"api_url": "ftp://10.0.0.10"}, "api_url"),
    ({"api_url": "https://10.0.0.10:8080/api?x=$(id)"}, "api_url"),
    ({"api_ca": "certificate"}, "api_ca"),
    ({"api_ca": PEM + "'; id; '"}, "api_ca"),
    ({"api_ca": PEM.replace("MII", "M$(")}, "api_ca"),
    ({"api_ca": 7}, "api_ca"),
    ({"method": "pxe"}, "method"),
    ({"method": ["image"]}, "method"),
    ({"user": "Root"}, "user"),
    ({"user": "root; id"}, "user"),
    ({"user": "-r"}, "user"),
    ({"user": "a\n"}, "user"),
    ({"ssh_keys": KEY}, "ssh_keys"),
    ({"ssh_keys": ["ssh-ed25519 AAAA"]}, "ssh_keys"),
    ({"ssh_keys": ['command="id" ' + KEY]}, "ssh_keys"),
    ({"ssh_keys": [KEY.replace("ed25519", "rsa")]}, "ssh_keys"),
    ({"ssh_keys": ["ssh-dss" + KEY[11:]]}, "ssh_keys"),
    ({"ssh_keys": [KEY + "\nssh-rsa AAAA"]}, "ssh_keys"),
    ({"ssh_keys": []}, "ssh_keys"),
    ({"mirrors": {"debian": "http://m/$(id)"}}, "mirrors"),
    ({"mirrors": {"debian": "http://m/../x"}}, "mirrors"),
    ({"mirrors": {"Debian;": "http://m/debian"}}, "mirrors"),
    ({"mirrors": ["http://m"]}, "mirrors"),
    ({"proxy": "10.0.0.10:3142"}, "proxy"),
    ({"proxy": "http://10.0.0.10:3142/`id`"}, "proxy"),
    ({"domain": "home arpa"}, "domain"),
    ({"domain": "-a"}, "domain"),
    ({"timezone": "../../etc/passwd"}, "timezone"),
    ({"timezone": ""}, "timezone"),
    ({"locale": "en_US.UTF-8 'x'"}, "locale"),
    ({"keyboard": "us;id"}, "keyboard"),
    ({"ntp": ["ntp.example.org\nserver x"]}, "ntp"),
    ({"ntp": "ntp.example.org"}, "ntp"),
    ({"dns": ["dns.example.org"]}, "dns"),
    ({"dns": ["fe80::1%eth0"]}, "dns"),
    ({"kernel_arguments": "quiet init=/bin/sh"}, "kernel_arguments"),
    ({"kernel_arguments": "kubestead.base=http://evil"}, "kernel_arguments"),
    ({"kernel_arguments": "a\nb"}, "kernel_arguments"),
    ({"kernel_arguments": 'a="b c"'}, "kernel_arguments"),
    ({"kernel_arguments": "a ${x}"}, "kernel_arguments"),
    ({"kernel_arguments": "--- a"}, "kernel_arguments"),
    ({"kernel_arguments": "a" * 600}, "kernel_arguments"),
    ({"packages": ["vim;id"]}, "packages"),
    ({"packages": ["-y"]}, "packages"),
    ({"packages": "vim"}, "packages"),
    ({"local_boot": {"pcbios": "reboot"}}, "local_boot"),
    ({"local_boot": {"arm": "exit"}}, "local_boot"),
    ({"local_boot": {"pcbios": ["exit"]}}, "local_boot"),
    ({"passwrod": "x"}, "passwrod"),
]


@pytest.mark.parametrize("change", GOOD, ids=str)
def test_good_settings(change: dict[str, Any]) -> None:
    made = BootSettings.of({**PLAIN, **change})
    assert BootSettings.of(json.loads(json.dumps({**PLAIN, **change}))) == made


@pytest.mark.parametrize(("change", "name"), BAD, ids=str)
def test_bad_settings(change: dict[str, Any], name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        BootSettings.of({**PLAIN, **change})
    (found,) = caught.value.problems
    assert found.startswith(f"{name} is ")
    assert "\n" not in found


def test_no_way_around_the_checks() -> None:
    with pytest.raises(SettingsError, match="user is"):
        BootSettings(base="http://10.0.0.10", api_url="http://10.0.0.10:8080", user="x y")


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        BootSettings.of({"base": "x", "user": "X", "colour": "red"})
    assert [problem.split()[0] for problem in caught.value.problems] == [
        "base",
        "user",
        "colour",
        "api_url",
        "ssh_keys",
    ]


@pytest.mark.parametrize("values", [None, [], "text", 7])
def test_settings_are_an_object(values: Any) -> None:
    with pytest.raises(SettingsError, match="expected an object"):
        BootSettings.of(values)


def test_normal_forms() -> None:
    made = BootSettings.of(
        {
            **PLAIN,
            "base": "http://10.0.0.10/",
            "ssh_keys": [f"{KEY} Jörg's $(laptop)", f"{KEY} Jörg's $(laptop)"],
            "kernel_arguments": "  quiet   splash ",
            "local_boot": {"pcbios": "exit"},
            "mirrors": {"debian": "http://10.0.0.2/debian/"},
        }
    )
    assert made.base == "http://10.0.0.10"
    assert made.ssh_keys == (f"{KEY} J-rg-s-laptop-",)
    assert made.kernel_arguments == "quiet splash"
    assert made.local_boot == {"pcbios": "exit", "efi": "exit"}
    assert made.mirrors == {"debian": "http://10.0.0.2/debian"}


def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "boot.json"
    live = SettingsFile(path)
    with pytest.raises(SettingsError, match=f"there is no {path}.*pxe_server"):
        live.current()
    path.write_text(json.dumps(PLAIN))
    first = live.current()
    assert live.current() is first
    path.write_text(json.dumps({**PLAIN, "user": "ansible"}))
    assert live.current().user == "ansible"
    path.write_text("{")
    with pytest.raises(SettingsError, match="is no JSON"):
        live.current()
    path.write_text(json.dumps({**PLAIN, "user": "X Y"}))
    with pytest.raises(SettingsError, match=f"{path}: user is"):
        live.current()
    path.unlink()
    os.mkdir(path)
    with pytest.raises(SettingsError, match="cannot be read"):
        live.current()


def test_a_plan_fills_in_what_the_registry_leaves_out() -> None:
    machine = Machine("52:54:00:77:00:11", "n1", "worker", "amd64")
    settings = BootSettings.of({**PLAIN, "method": "installer"})
    plan = InstallPlan(machine, settings, "a" * 32, 1, False, None, "ksi_secret")
    assert (plan.os, plan.architecture, plan.method, plan.disk) == ("debian-13", "amd64", "installer", None)
    assert "ksi_secret" not in repr(plan)
    own = Machine(
        "52:54:00:77:00:11", "n1", "worker", "arm64", os="rocky-10", install_method="image", disk="/d"
    )
    plan = InstallPlan(own, settings, "a" * 32)
    assert (plan.os, plan.architecture, plan.method, plan.disk) == ("rocky-10", "arm64", "image", "/d")
