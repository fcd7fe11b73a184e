# SPDX-License-Identifier: GPL-3.0-or-later
"""The first-boot agent as a process, against the real State API by TLS."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kubestead.model.state_api_client import StateApiClient
from kubestead.pki import ensure
from kubestead.store import Store, tokens
from tests.integration.needs import require
from tests.integration.server_sample import Place, started
from tests.unit.agent_sample import FOLDER, MAC, PROGRAM, Tree
from tests.unit.api_sample import BEARER, free_port, until

REGISTRY = {MAC: {"hostname": "w-1", "role": "worker", "architecture": "amd64", "features": ["kubernetes"]}}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPublicPublicPublicPublicPublicPublicPub"


@dataclass
class Site:
    """A place for a State API that may be up or down, and a machine below a folder."""

    place: Place
    tree: Tree
    port: int

    def api_up(self) -> Any:
        return started(self.place, self.port, *self.place.tls_arguments())

    @property
    def client(self) -> StateApiClient:
        ca = str(self.place.pki / "ca.crt")
        return StateApiClient(f"https://127.0.0.1:{self.port}", BEARER, ca_file=ca)

    def told(self, **more: Any) -> None:
        """Write what the agent is told, and the authority."""
        config = {"mac": MAC, "api_url": f"https://127.0.0.1:{self.port}", "base": "http://127.0.0.1", **more}
        self.tree.write("/etc/kubestead/agent.json", json.dumps(config)).chmod(0o600)
        self.tree.write("/etc/kubestead/ca.crt", (self.place.pki / "ca.crt").read_text())

    @contextmanager
    def agent(self) -> Iterator[subprocess.Popen[str]]:
        """The agent, running; killed with the block where it has not ended."""
        log = self.tree.folder.parent / "agent.log"
        with log.open("a") as stream:
            process = subprocess.Popen(
                [sys.executable, str(PROGRAM), "--root", str(self.tree.folder), "run"],
                stderr=stream,
                text=True,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait(10)

    def run_agent(self, seconds: float = 60) -> int:
        with self.agent() as process:
            return process.wait(seconds)

    def lines(self) -> list[dict[str, Any]]:
        log = self.tree.folder.parent / "agent.log"
        return [json.loads(line) for line in log.read_text().splitlines()]

    def has(self, name: str) -> bool:
        return (self.tree.folder / "etc" / "kubestead" / name).exists()

    def read(self, name: str) -> Any:
        return json.loads((self.tree.folder / "etc" / "kubestead" / name).read_text())

    def code(self) -> str:
        """The code that the machine shows."""
        until(lambda: self.has("enrolment.json"), 90)
        code: str = self.read("enrolment.json")["code"]
        return code


@pytest.fixture
def site(tmp_path: Path) -> Site:
    folder = tmp_path / "api"
    folder.mkdir()
    place = Place.make(folder)
    (folder / "registry.json").write_text(json.dumps(REGISTRY))
    (tmp_path / "machine").mkdir()
    tree = Tree(tmp_path / "machine")
    tree.card("enp1s0", MAC)
    tree.disk("sdb", "8:16")
    tree.write("/etc/ssh/ssh_host_ed25519_key.pub", f"{KEY} root@w-1\n")
    tree.write("/etc/os-release", 'ID=debian\nVERSION_ID="13"\nPRETTY_NAME="Debian GNU/Linux 13"\n')
    site = Site(place, tree, free_port())
    site.told()
    return site


def state_of(site: Site) -> Any:
    return site.client.machine(MAC)


def test_a_machine_asks_is_adopted_and_says_what_it_is(site: Site) -> None:
    with site.api_up(), site.agent() as agent:
        code = site.code()
        until((site.tree.folder / "run/issue.d/kubestead.issue").exists, 10)
        assert (
            f"kubestead machines adopt {code}"
            in (site.tree.folder / "run/issue.d/kubestead.issue").read_text()
        )
        secret = site.read("enrolment.json")["secret"]
        assert stat.S_IMODE((site.tree.folder / "etc/kubestead/enrolment.json").stat().st_mode) == 0o600
        (asking,) = site.client.enrolments()
        assert (asking["registered_hostname"], asking["condition"]) == ("w-1", "waiting")
        assert state_of(site)["state"] is None, "a MAC of the registry opens nothing"
        site.client.decide_enrolment(code, approve=True)
        assert agent.wait(30) == 0
        machine = state_of(site)
        assert (machine["state"], machine["phase"]) == ("installed", "first-boot")
        assert machine["message"].startswith("Debian GNU/Linux 13 runs, kernel ")
        assert machine["address"] == "127.0.0.1"
        assert site.client.data(MAC, "ssh_host_keys")["value"] == [KEY]
        hardware = site.client.data(MAC, "hardware")["value"]
        assert [each["name"] for each in hardware["disks"]] == ["sdb"]
        assert hardware["cpu"]["threads"] == 4
    token = site.tree.folder / "etc/kubestead/machine.token"
    assert token.read_text() == f"{secret}\n"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert site.read("machine.json")["hostname"] == "w-1"
    assert not site.has("enrolment.json")
    assert not (site.tree.folder / "run/issue.d/kubestead.issue").exists()
    for line in site.lines():
        assert {"time", "level", "machine", "correlation_id", "message"} <= set(line)
        assert line["machine"] == MAC
        assert secret not in json.dumps(line)
    assert secret not in (site.place.folder / "log").read_text()
    correlation = site.lines()[0]["correlation_id"]
    with site.api_up():
        assert correlation in {each["correlation_id"] for each in site.client.events(mac=MAC)}


def test_an_api_that_is_down_is_waited_for(site: Site) -> None:
    with site.agent() as agent:
        until(lambda: (site.tree.folder.parent / "agent.log").read_text() and site.lines(), 20)
        assert agent.poll() is None
        (line,) = site.lines()
        assert (line["level"], "cannot be reached" in line["message"]) == ("WARN", True)
        with site.api_up():
            site.client.decide_enrolment(site.code(), approve=True)
            assert agent.wait(120) == 0
            assert state_of(site)["state"] == "installed"


def test_it_goes_on_where_it_was_killed(site: Site) -> None:
    with site.api_up():
        with site.agent() as agent:
            code = site.code()
            agent.send_signal(signal.SIGKILL)
            agent.wait(10)
        site.client.decide_enrolment(code, approve=True)
        assert site.run_agent() == 0
        assert [each["code"] for each in site.client.enrolments()] == [code], "it has not asked twice"
        # Cut after the token was kept, and before anything was said.
        os.unlink(site.tree.folder / "etc/kubestead/first-boot.done")
        assert site.run_agent() == 0
        assert len(site.client.enrolments()) == 1
        before = len(site.client.events(mac=MAC, limit=500))
        assert site.run_agent() == 0, "done is done"
        assert len(site.client.events(mac=MAC, limit=500)) == before


def test_one_that_is_refused_ends_and_says_what_to_do(site: Site) -> None:
    with site.api_up():
        with site.agent() as agent:
            site.client.decide_enrolment(site.code(), approve=False)
            assert agent.wait(30) == 77
        assert not site.has("machine.token")
        assert "provision-machine.sh again" in site.lines()[-1]["message"]
        assert site.read("enrolment.json")["secret"] == ""
        assert site.run_agent() == 77, "it does not ask again by itself"
        assert len(site.client.enrolments()) == 1
        configured = [sys.executable, str(PROGRAM), "--root", str(site.tree.folder), "configure"]
        subprocess.run([*configured, "--api-url", f"https://127.0.0.1:{site.port}"], check=True)
        with site.agent() as agent:
            site.client.decide_enrolment(site.code(), approve=True)
            assert agent.wait(30) == 0


def test_one_whose_time_is_up_asks_anew(site: Site) -> None:
    with site.api_up(), site.agent() as agent:
        first = site.code()
        site.tree.write(
            "/etc/kubestead/enrolment.json", json.dumps({**site.read("enrolment.json"), "id": "0" * 32})
        )
        until(lambda: site.has("enrolment.json") and site.code() != first, 30)
        site.client.decide_enrolment(site.code(), approve=True)
        assert agent.wait(30) == 0


def test_a_worthless_token_says_what_to_do_and_leads_to_adoption(site: Site) -> None:
    worthless = {"install_token": "ksi_worthless", "install_id": "0" * 32}
    site.told(**worthless)
    with site.api_up(), site.agent() as agent:
        code = site.code()
        assert "install_token" not in site.read("agent.json")
        errors = [line["message"] for line in site.lines() if line["level"] == "ERROR"]
        assert len(errors) == 1
        assert "kubestead machines adopt" in errors[0]
        assert "kubestead machines reinstall" in errors[0]
        site.client.decide_enrolment(code, approve=True)
        assert agent.wait(30) == 0
    assert "worthless" not in (site.tree.folder.parent / "agent.log").read_text()


def test_a_token_that_was_revoked_later_leads_to_adoption(site: Site) -> None:
    site.tree.write("/etc/kubestead/machine.token", "ksm_revoked\n")
    with site.api_up(), site.agent() as agent:
        site.client.decide_enrolment(site.code(), approve=True)
        assert agent.wait(30) == 0


def installing(site: Site) -> tuple[str, str]:
    """An installation that is handed out: its id, and the installer's token."""
    with closing(Store.at(site.place.folder / "machines.db")) as store:
        store.act(MAC, "install", actor="anna", initial="approved")
        handed = store.hand_out(MAC, registered=True)
        assert handed.install_id is not None
        secret = tokens.new_secret("install")
        store.keep_install_token(MAC, handed.install_id, handed.attempt, tokens.digest(secret))
    return handed.install_id, secret


def test_an_installed_machine_has_its_own_token_without_a_person(site: Site) -> None:
    with site.api_up():
        number, secret = installing(site)
        site.told(install_token=secret, install_id=number)
        assert site.run_agent() == 0
        machine = state_of(site)
        assert (machine["state"], machine["phase"]) == ("installed", "first-boot")
        assert machine["install"]["completed_id"] == number
        assert site.client.enrolments() == []
        own = (site.tree.folder / "etc/kubestead/machine.token").read_text().strip()
        assert StateApiClient(site.client.url, own, ca_file=str(site.place.pki / "ca.crt")).config(MAC)
    assert not site.has("machine.token.new")
    config = site.read("agent.json")
    assert config["install_id"] == number, "whoever prepares the machine compares it"
    assert "install_token" not in config
    told = (site.tree.folder.parent / "agent.log").read_text() + (site.place.folder / "log").read_text()
    assert secret not in told
    assert own not in told


def test_an_answer_that_was_lost_costs_nothing(site: Site) -> None:
    """The machine was cut after the API had exchanged the token, and before it knew."""
    with site.api_up():
        number, secret = installing(site)
        site.told(install_token=secret, install_id=number)
        own = tokens.new_secret("machine")
        site.tree.write("/etc/kubestead/machine.token.new", own)
        body = {"mac": MAC, "digest": tokens.digest(own)}
        ca = str(site.place.pki / "ca.crt")
        StateApiClient(site.client.url, secret, ca_file=ca).request("POST", "/api/exchange", body)
        assert site.run_agent() == 0
        assert (site.tree.folder / "etc/kubestead/machine.token").read_text().strip() == own
        assert site.client.enrolments() == []
        assert state_of(site)["phase"] == "first-boot"


def test_a_machine_that_is_to_be_installed_anew_has_a_worthless_token(site: Site) -> None:
    with site.api_up():
        number, secret = installing(site)
        site.told(install_token=secret, install_id=number)
        with closing(Store.at(site.place.folder / "machines.db")) as store:
            store.act(MAC, "reinstall", actor="anna", initial="approved")
        with site.agent():
            site.code()
            (error,) = [line["message"] for line in site.lines() if line["level"] == "ERROR"]
            assert "the install token opens nothing" in error
        assert state_of(site)["state"] == "install_pending"


def test_a_certificate_of_somebody_else_is_not_trusted(site: Site, tmp_path: Path) -> None:
    ensure(tmp_path / "others", ["127.0.0.1"])
    site.tree.write("/etc/kubestead/ca.crt", (tmp_path / "others" / "ca.crt").read_text())
    with site.api_up(), site.agent() as agent:
        until(lambda: (site.tree.folder.parent / "agent.log").read_text() and site.lines(), 20)
        assert "is not trusted" in site.lines()[0]["message"]
        assert agent.poll() is None
        assert site.client.enrolments() == []


@pytest.mark.parametrize("state", ["provisioning", "ready"])
def test_a_machine_that_is_further_is_not_taken_back(site: Site, state: str) -> None:
    with site.api_up():
        made = site.client.create_token("w-1", "machine", mac=MAC)
        site.tree.write("/etc/kubestead/machine.token", made["token"])
        site.client.report_state(MAC, "provisioning")
        site.client.report_state(MAC, state, phase="join")
        assert site.run_agent() == 0
        machine = state_of(site)
        assert (machine["state"], machine["phase"]) == (state, "join")
        assert site.client.data(MAC, "hardware")["value"]["version"] == 1


def test_machine_state_reports_from_the_machine(site: Site) -> None:
    def machine_state(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(PROGRAM), "--root", str(site.tree.folder), "machine-state", *words]
        return subprocess.run(command, input=given, capture_output=True, text=True, check=False)

    assert machine_state("ready").returncode == 2, "no token yet"
    with site.api_up():
        made = site.client.create_token("w-1", "machine", mac=MAC)
        site.tree.write("/etc/kubestead/machine.token", made["token"])
        done = machine_state("provisioning", "prepare", "40", "disks", "found", "--feature", "nfs=ready")
        assert (done.returncode, done.stderr) == (0, "")
        machine = state_of(site)
        assert (machine["phase"], machine["progress"], machine["message"]) == ("prepare", 40, "disks found")
        assert machine["feature_status"] == {"nfs": "ready"}
        assert machine_state("--data", "note", "-", given="two\nlines").returncode == 0
        assert site.client.data(MAC, "note")["value"] == "two\nlines"
        assert machine_state("--json", "shelf", '{"number": 3}').returncode == 0
        assert json.loads(machine_state("--get", "shelf").stdout)["value"] == {"number": 3}
        assert json.loads(machine_state().stdout)["hostname"] == "w-1"
        wrong = machine_state("discovered")
        assert (wrong.returncode, "cannot go to discovered" in wrong.stderr) == (1, True)
        assert machine_state("--json", "shelf", "{").returncode == 2
        assert machine_state("ready", "x", "half").returncode == 2
    gone = machine_state("ready")
    assert (gone.returncode, "cannot be reached" in gone.stderr) == (3, True)


def test_the_scripts_are_sound() -> None:
    command = [require("shellcheck", "shellcheck"), *sorted(map(str, FOLDER.glob("*.sh")))]
    assert len(command) == 3
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """It would also look for the program, which is not on this computer."""
    text = (FOLDER / "kubestead-first-boot.service").read_text()
    unit = tmp_path / "kubestead-first-boot.service"
    unit.write_text(text.replace("/usr/local/sbin/kubestead-agent", sys.executable))
    command = [require("systemd-analyze", "systemd"), "verify", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
