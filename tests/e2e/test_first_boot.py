# SPDX-License-Identifier: GPL-3.0-or-later
"""The first-boot agent on real systemd machines, from the script that brings it to a boot without an API.

One story, run in order.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kubestead.pki import ensure
from lab import Lab, NodeSpec, base
from lab.host import problems
from tests.figures import tell
from tests.integration.server_sample import Place, Program, program
from tests.unit.api_sample import until
from tests.unit.cli_sample import COMMAND

pytestmark = pytest.mark.skipif(bool(os.geteuid() or problems()), reason="python -m lab check says why")

OLD = NodeSpec("old", "debian-12", "10.77.0.31")
NEW = NodeSpec("new", "debian-13", "10.77.0.32")
ADDRESS, PORT = "10.77.0.1", 8080
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPublicPublicPublicPublicPublicPublicPub"
CODE = re.compile(r"machines adopt ([A-Z]{4}-[A-Z]{4})")
UNIT = "kubestead-first-boot"


class Site:
    """The lab's network with a State API in it, which may be up or down."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        """Write what the API is started on."""
        self.lab, self.place = lab, Place.make(folder)
        ensure(self.place.pki, ["127.0.0.1", ADDRESS])
        registry = {OLD.mac: {"hostname": "old", "role": "worker", "architecture": "amd64"}}
        (folder / "registry.json").write_text(json.dumps(registry))
        settings = {"base": f"http://{ADDRESS}", "api_url": f"https://{ADDRESS}:{PORT}", "ssh_keys": [KEY]}
        settings["api_ca"] = (self.place.pki / "ca.crt").read_text()
        (folder / "boot.json").write_text(json.dumps(settings))

    @contextmanager
    def api(self) -> Iterator[Program]:
        """The API in the lab's network; boot files on port 80."""
        more = ["--bind", ADDRESS, "--boot-port", "80", "--boot-dir", str(self.place.boot)]
        more += ["--boot-settings", str(self.place.folder / "boot.json"), *self.place.tls_arguments()]
        command = self.lab.network_argv(self.place.arguments(PORT, *more))
        with program(command, self.place.folder, PORT, {}) as running:
            until(lambda: running.has_told("READY=1") or running.process.poll() is not None, seconds=60)
            assert running.process.poll() is None, running.log.read_text()
            yield running

    def kubestead(self, *words: str) -> Any:
        """What a command of ours prints, as JSON."""
        at = ["--api-url", f"https://{ADDRESS}:{PORT}", "--token-file", str(self.place.token)]
        at += ["--ca-file", str(self.place.pki / "ca.crt"), "--json"]
        done = subprocess.run(
            self.lab.network_argv([*COMMAND, *words, *at]), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def machine(self, spec: NodeSpec) -> Any:
        return self.kubestead("machines", "list")[spec.mac]

    def on(self, spec: NodeSpec, *command: str, expect: int | None = 0) -> str:
        done = self.lab.ssh(spec.name, command)
        assert expect is None or done.returncode == expect, done.stdout + done.stderr
        return (done.stdout + done.stderr).strip()

    def known(self, spec: NodeSpec) -> None:
        """Wait until the agent has said everything."""
        status = ("kubestead-agent", "status")
        until(lambda: self.on(spec, *status, expect=None) == "the State API knows this machine", 60)

    def reboot(self, spec: NodeSpec) -> float:
        """Boot a machine anew; the seconds until its boot was finished."""
        self.lab.node(spec.name).stop()
        begin = time.monotonic()
        self.lab.nodes_up([spec])
        until(
            lambda: self.on(spec, "systemctl", "is-system-running", expect=None) != "starting",
            60,
        )
        return time.monotonic() - begin


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    lab = Lab("first-boot")
    lab.down()
    base.ensure({OLD.os, NEW.os})
    lab.preflight()
    lab.network_up()
    lab.gateway_start()
    lab.nodes_up([OLD, NEW])
    try:
        yield Site(lab, tmp_path_factory.mktemp("api"))
    finally:
        left = lab.down()
    assert left == []


def provision(site: Site, spec: NodeSpec, *words: str) -> str:
    """Fetch the script as people do, and run it."""
    site.on(spec, "sh", "-c", "command -v wget || apt-get install -qy wget")
    site.on(
        spec, "wget", "-q", "-O", "provision-machine.sh", f"http://{ADDRESS}/scripts/provision-machine.sh"
    )
    return site.on(spec, "sh", "provision-machine.sh", *words)


@pytest.mark.parametrize("spec", [OLD, NEW], ids=lambda spec: spec.os)
def test_a_machine_that_is_installed_already(site: Site, spec: NodeSpec) -> None:
    with site.api() as api:
        said = provision(site, spec)
        code = CODE.search(said)
        assert code, said
        assert re.search(r"SHA256 ([0-9A-F]{2}:){31}[0-9A-F]{2}", said)
        known = spec is OLD
        assert site.machine(spec)["state"] == (None if known else "discovered")
        adopted = site.kubestead("machines", "adopt", code[1], "--yes")
        assert (adopted["peer"], adopted["state"]) == (spec.ip, "installed")
        site.known(spec)
        machine = site.machine(spec)
        assert (machine["state"], machine["phase"], machine["address"]) == (
            "installed",
            "first-boot",
            spec.ip,
        )
        keys = site.on(spec, "sh", "-c", "cut -d' ' -f1,2 /etc/ssh/ssh_host_*_key.pub").splitlines()
        stored = json.loads(site.on(spec, "machine-state.sh", "--get", "ssh_host_keys"))["value"]
        assert sorted(stored) == sorted(keys)
        hardware = json.loads(site.on(spec, "machine-state.sh", "--get", "hardware"))["value"]
        assert hardware["virtualisation"] == "systemd-nspawn"
        assert spec.mac in [each["mac"] for each in hardware["nics"]]
        until(lambda: site.on(spec, "systemctl", "is-active", UNIT, expect=None) == "inactive", 20)
        assert site.on(spec, "systemctl", "show", "-P", "Result", UNIT) == "success"
        assert site.on(spec, "systemctl", "is-enabled", UNIT) == "enabled"
        site.on(spec, "systemd-analyze", "verify", f"{UNIT}.service")
        mode = site.on(spec, "stat", "-c", "%a %U", "/etc/kubestead/machine.token")
        assert mode == "600 root"
        assert site.on(spec, "machine-state.sh", "provisioning", "prepare", "40", "disks found") == ""
        assert site.machine(spec)["message"] == "disks found"
    secret = site.on(spec, "cat", "/etc/kubestead/machine.token")
    assert secret not in api.log.read_text()
    journal = site.on(spec, "journalctl", "-o", "cat", "-u", UNIT)
    assert secret not in journal
    assert "asks to be adopted" in journal


def test_again_asks_nobody_and_takes_nothing_back(site: Site) -> None:
    with site.api():
        asked = len(site.kubestead("events"))
        said = provision(site, OLD)
        assert said.endswith("the State API knows this machine")
        assert CODE.search(said) is None
        assert site.machine(OLD)["state"] == "provisioning"
        assert "enrolment" not in {each["kind"] for each in site.kubestead("events")[asked:]}


@pytest.mark.parametrize("spec", [OLD, NEW], ids=lambda spec: spec.os)
def test_done_is_done_at_the_next_boot(site: Site, spec: NodeSpec) -> None:
    site.reboot(spec)
    assert site.on(spec, "systemctl", "is-system-running") == "running"
    assert site.on(spec, "systemctl", "show", "-P", "ConditionResult", UNIT) == "no"


@pytest.mark.parametrize("spec", [OLD, NEW], ids=lambda spec: spec.os)
def test_a_boot_does_not_wait_for_the_api(site: Site, spec: NodeSpec) -> None:
    without = site.reboot(spec)
    site.on(spec, "sh", "-c", "rm /etc/kubestead/first-boot.done /etc/kubestead/machine.token")
    seconds = site.reboot(spec)
    tell(f"{spec.os}: boot {without:.1f} s, with an agent that finds no API {seconds:.1f} s")
    assert site.on(spec, "systemctl", "is-system-running") == "running"
    assert site.on(spec, "systemctl", "is-active", UNIT) == "active"
    with site.api():
        until(lambda: CODE.search(site.on(spec, "kubestead-agent", "status", expect=None)) is not None, 180)
        code = CODE.search(site.on(spec, "cat", "/run/issue.d/kubestead.issue"))
        assert code
        site.kubestead("machines", "adopt", code[1], "--yes")
        site.known(spec)
        until(lambda: site.on(spec, "systemctl", "is-active", UNIT, expect=None) == "inactive", 20)
        assert site.machine(spec)["state"] == "provisioning", "what it had come to counts"


def test_a_machine_that_is_refused_is_left_alone(site: Site) -> None:
    with site.api():
        site.on(NEW, "rm", "/etc/kubestead/machine.token")
        code = CODE.search(provision(site, NEW))
        assert code
        site.kubestead("machines", "adopt", code[1], "--refuse")
        until(lambda: site.on(NEW, "systemctl", "is-active", UNIT, expect=None) == "inactive", 20)
        assert "was refused" in site.on(NEW, "kubestead-agent", "status", expect=1)
        assert site.on(NEW, "systemctl", "is-system-running") == "running"
