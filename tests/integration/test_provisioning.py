# SPDX-License-Identifier: GPL-3.0-or-later
"""Provisioning against a real State API: what is asked for, told and proven, and what is left alone.

The machines are not there: each has a port of this computer that nothing listens on, or is this computer
itself. What machines report, the test reports. Real machines are installed in tests/e2e.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kubestead.exit_codes import ExitCode
from kubestead.model.known_hosts import keys_of, parse_key
from tests.integration.ansible_cores import CHECKOUT, NEWEST, OLDEST, environment, programs_of
from tests.unit.api_sample import Files, Running, free_port, running, until

HERE, NEW, STUCK, LOCKED = (f"52:54:00:77:00:{number}" for number in ("11", "21", "22", "23"))
NAMES = {HERE: "here", NEW: "new", STUCK: "stuck", LOCKED: "locked"}


@dataclass
class Site:
    """An inventory and its State API."""

    folder: Path
    api: Running
    key: str

    @property
    def known_hosts(self) -> Path:
        """Where host keys go."""
        return self.folder / "known_hosts"

    def command(self, version: str, **variables: Any) -> tuple[list[str | Path], dict[str, str]]:
        """The command, and its environment."""
        programs = programs_of(version)
        more = {
            "provision_known_hosts": str(self.known_hosts),
            "provision_connect_timeout": 1,
            "provision_timeout": 30,
            "provision_grace": 1,
            **variables,
        }
        words = [
            "playbooks/provision.yml",
            "-i",
            str(self.folder / "inventory"),
            "--extra-vars",
            json.dumps(more),
        ]
        return [programs / "ansible-playbook", *words], environment(programs, **self.where())

    def where(self) -> dict[str, str]:
        """Where the State API is."""
        return {"KUBESTEAD_API_URL": self.api.url, "KUBESTEAD_API_TOKEN_FILE": str(self.folder / "token")}

    def start(self, version: str = NEWEST, **variables: Any) -> subprocess.Popen[str]:
        """Begin a run."""
        words, env = self.command(version, **variables)
        return subprocess.Popen(
            words, cwd=CHECKOUT, env=env, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, version: str = NEWEST, **variables: Any) -> tuple[int, str]:
        """A whole run: its status, and what it said."""
        with self.start(version, **variables) as process:
            out, _ = process.communicate(timeout=120)
            return process.returncode, out

    def state(self, mac: str) -> str | None:
        """What the State API has of a machine."""
        found: str | None = self.api.client().machine(mac)["state"]
        return found

    def install(self, mac: str) -> None:
        """Report what a machine reports while it is installed."""
        client = self.api.client()
        until(lambda: self.state(mac) == "install_pending", 60)
        for phase, share in (("boot", 0), ("download", 20), ("disk", 50), ("write", 80)):
            client.report_state(mac, "installing", phase=phase, progress=share)
        client.put_data(mac, "ssh_host_keys", {"keys": [self.key]})
        client.report_state(mac, "installed", phase="done", progress=100)
        client.report_state(mac, "installed", phase="first-boot", message="Debian GNU/Linux 13")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """All of it."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "host"], check=True)
    files = Files.make(tmp_path)
    entries = {
        mac: {"hostname": name, "role": "worker", "architecture": "amd64", "locked": mac == LOCKED}
        for mac, name in NAMES.items()
    }
    files.registry.write_text(json.dumps(entries))
    inventory = tmp_path / "inventory"
    (inventory / "host_vars").mkdir(parents=True)
    (inventory / "registry.json").write_text(json.dumps(entries))
    (inventory / "kubestead.yml").write_text("plugin: kubestead.homelab.registry\n")
    (inventory / "host_vars" / "here.yml").write_text(
        f"ansible_connection: local\nansible_python_interpreter: {sys.executable}\n"
    )
    for name in ("new", "stuck", "locked"):
        (inventory / "host_vars" / f"{name}.yml").write_text(
            f"ansible_host: 127.0.0.1\nansible_port: {free_port()}\n"
        )
    with running(files) as api:
        yield Site(tmp_path, api, (tmp_path / "host.pub").read_text().strip())


@pytest.mark.parametrize("version", [NEWEST, OLDEST])
def test_from_written_down_to_installed(site: Site, version: str) -> None:
    with site.start(version, provision_yes=True) as process:
        machine = threading.Thread(target=site.install, args=(NEW,))
        machine.start()
        client = site.api.client()
        until(lambda: site.state(STUCK) == "install_pending", 60)
        client.report_state(STUCK, "installing", phase="disk", progress=50)
        assert process.stdout is not None
        said = ""
        while "stuck                installing, disk, 50 %" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        client.report_state(STUCK, "failed", phase="disk", error="/dev/sda is not empty: reinstall erases it")
        said += process.stdout.read()
        machine.join(60)
    assert process.returncode == 2, said
    assert "new  52:54:00:77:00:21: switch it on, from the network" in said
    assert "✔ here: runs from" in said
    assert "✘ new: timed out waiting for ping" in said.replace("Timed", "timed"), said
    assert "✘ stuck: stuck failed in phase disk: /dev/sda is not empty: reinstall erases it." in said, said
    assert "- locked: it has no system, and is locked: kubestead machines unlock locked" in said
    assert "new                  installed, first-boot: Debian GNU/Linux 13" in said
    told = [line.strip() for line in said.splitlines() if line.startswith("  stuck ")]
    assert told[0].endswith("install_pending") or "installing" in told[0], (
        told
    )  # while it went on, not at the end
    assert "failed" in told[-1], told
    states = {NAMES[mac]: site.state(mac) for mac in NAMES}
    assert states == {"here": "ready", "new": "failed", "stuck": "failed", "locked": None}
    port = (site.folder / "inventory/host_vars/new.yml").read_text().split()[-1]
    assert keys_of(site.known_hosts.read_text(), f"[127.0.0.1]:{port}") == [parse_key(site.key)]


def test_a_second_run_has_nothing_to_do(site: Site) -> None:
    for mac in (NEW, STUCK, LOCKED):
        site.api.client().act(mac, "retire") if mac != LOCKED else None
    code, said = site.run(provision_yes=True)
    assert code == 0, said
    newest = site.api.client().events(limit=1)[0]["id"]
    view = site.api.client().machine(HERE)
    assert (view["state"], view["phase"]) == ("ready", "provision")
    code, said = site.run()
    assert (code, said.count("changed=0"), "changed=1" in said) == (0, 5, False), said
    assert site.api.client().events(after=newest) == []  # it was at work: nothing is reported of it


def test_nobody_has_said_yes(site: Site) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kubestead.deploy", "provision", "-i", site.folder / "inventory",
         "--", "--extra-vars", f"provision_known_hosts={site.known_hosts}"],
        cwd=CHECKOUT, env=environment(Path(sys.executable).parent, **site.where()),
        check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120,
    )  # fmt: skip
    assert done.returncode == ExitCode.WRONG_INPUT, done.stdout
    assert "new  52:54:00:77:00:21  debian-13 on its only disk" in done.stdout
    assert "without a terminal add --yes" in done.stderr
    assert {site.state(mac) for mac in (NEW, STUCK, LOCKED)} == {None}


def test_check_mode_asks_for_nothing(site: Site) -> None:
    words, env = site.command(NEWEST)
    done = subprocess.run(
        [*words, "--check"], cwd=CHECKOUT, env=env, check=False, capture_output=True, text=True,
        stdin=subprocess.DEVNULL, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "The disks of these machines will be written" in done.stdout
    assert {site.state(mac) for mac in NAMES} == {None}


def test_the_system_of_another_installation_is_not_taken_over(site: Site) -> None:
    client = site.api.client()
    for mac in (NEW, STUCK):
        client.act(mac, "retire")
    client.act(HERE, "approve")
    client.act(HERE, "install")
    client.report_state(HERE, "installing", phase="boot")
    client.report_state(HERE, "installed", phase="first-boot")
    code, said = site.run()
    assert code == 2, said
    assert (
        "✘ here: It runs another installation than was asked for" in said
        or "does not run from its disk" in said
    )
    assert site.state(HERE) == "failed"


def test_a_name_that_is_none(site: Site) -> None:
    code, said = site.run(provision_install=["nwe"])
    assert code == 2
    assert "provision_install is nwe, expected new, none, or a list of machines" in said
