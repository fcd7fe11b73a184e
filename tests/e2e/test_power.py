# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook switches machines of the lab on: by Redfish, by IPMI, by a magic packet.

The machines are emulated, their controllers are real services (bmc_server.py). Nothing answers to SSH, so
each run ends at its deadline; what is looked at is who was switched on, how, and what was said.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kubestead.model.state_api_client import StateApiClient
from lab import Lab
from lab.host import problems
from lab.machine_spec import MachineSpec
from tests.integration.ansible_cores import CHECKOUT, environment
from tests.unit.api_sample import Files, Running, free_port, running, until

pytestmark = pytest.mark.skipif(bool(os.geteuid() or problems()), reason="python -m lab check says why")

NAME = "power"
PROGRAMS = Path(sys.executable).parent
LOGIN = "admin:hush: a colon"
MACHINES = {
    "by-redfish": MachineSpec("by-redfish", "10.77.0.151", memory=256, disk=1 << 20),
    "by-ipmi": MachineSpec("by-ipmi", "10.77.0.152", memory=256, disk=1 << 20),
}
BY_HAND = "52:54:00:77:00:99"


@dataclass
class Site:
    """The machines, their controllers, an inventory and a State API."""

    lab: Lab
    folder: Path
    api: Running

    def journal(self, kind: str) -> list[dict[str, Any]]:
        """What a controller was told since it is there."""
        return [json.loads(line) for line in (self.folder / kind / "journal").read_text().splitlines()][1:]

    def running(self) -> set[str]:
        """The machines that are on."""
        return {name for name in MACHINES if self.lab.machines.get(name).running()}

    def provision(self, **variables: Any) -> subprocess.CompletedProcess[str]:
        """Run the playbook."""
        more = {"provision_yes": True, "provision_timeout": 2, "provision_connect_timeout": 1, **variables}
        more["provision_known_hosts"] = str(self.folder / "known_hosts")
        return subprocess.run(
            [PROGRAMS / "ansible-playbook", "playbooks/provision_machines.yml", "-vvv",
             "-i", self.folder / "inventory", "--extra-vars", json.dumps(more)],
            cwd=CHECKOUT, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300,
            env=environment(PROGRAMS, BMC_LOGIN=LOGIN, KUBESTEAD_API_URL=self.api.url,
                            KUBESTEAD_API_TOKEN_FILE=str(self.folder / "token")),
        )  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """All of it, with the machines off; nothing is left of it afterwards."""
    folder = tmp_path_factory.mktemp("power")
    lab = Lab(NAME)
    lab.network_up()
    controllers = []
    try:
        lab.machines_make(list(MACHINES.values()))
        ports = {"redfish": free_port(), "ipmi": free_port()}
        for kind, port in ports.items():
            (folder / kind).mkdir()
            (folder / kind / "login").write_text(LOGIN)
            words = [sys.executable, "-m", "tests.e2e.bmc_server", kind, NAME, f"by-{kind}", str(port)]
            with (folder / kind / "log").open("w") as log:
                controllers.append(
                    subprocess.Popen([*words, str(folder / kind)], cwd=CHECKOUT, stdout=log, stderr=log)
                )
        files = make_inventory(folder, ports)
        for kind in ports:
            until(lambda kind=kind: (folder / kind / "journal").exists(), 60)
        with running(files) as api:
            ask(api.client())
            yield Site(lab, folder, api)
    finally:
        for controller in controllers:
            controller.terminate()
            controller.wait(20)
        assert lab.down() == []


def ask(client: StateApiClient) -> None:
    """Have an installation asked for of each machine, as a person does."""
    for mac, view in client.machines().items():
        client.act(mac, "approve")
        client.act(mac, "reinstall", hostname=view["hostname"])


def make_inventory(folder: Path, ports: dict[str, int]) -> Files:
    """Three machines: one by Redfish, one by IPMI, one by hand. Nothing listens where their SSH would be."""
    files = Files.make(folder)
    common = {"role": "worker", "architecture": "amd64"}
    address = f"https://127.0.0.1:{ports['redfish']}"
    redfish = {"type": "redfish", "address": address, "credentials": "env:BMC_LOGIN"}
    username, _, password = LOGIN.partition(":")
    (folder / "secret").touch(mode=0o600)
    (folder / "secret").write_text(json.dumps({"username": username, "password": password}))
    ipmi = {
        "type": "ipmi",
        "address": f"127.0.0.1:{ports['ipmi']}",
        "credentials": f"file:{folder / 'secret'}",
    }
    entries = {
        MACHINES["by-redfish"].mac: {**common, "hostname": "by-redfish", "bmc": redfish},
        MACHINES["by-ipmi"].mac: {**common, "hostname": "by-ipmi", "bmc": ipmi},
        BY_HAND: {**common, "hostname": "by-hand", "labels": {"rack": "cellar"}},
    }
    files.registry.write_text(json.dumps(entries))
    inventory = folder / "inventory"
    (inventory / "group_vars").mkdir(parents=True)
    (inventory / "registry.json").write_text(json.dumps(entries))
    (inventory / "kubestead.yml").write_text("plugin: kubestead.homelab.registry\n")
    (inventory / "group_vars" / "worker.yml").write_text(
        f"ansible_host: 127.0.0.1\nansible_port: {free_port()}\n"
    )
    return files


def test_machines_that_are_to_be_installed_are_switched_on_from_the_network(site: Site) -> None:
    assert site.running() == set()
    done = site.provision()
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    until(lambda: site.running() == {"by-redfish", "by-ipmi"}, 60)
    patch, reset = site.journal("redfish")
    assert patch["body"]["Boot"] == {"BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": "Pxe"}
    assert reset["body"] == {"ResetType": "On"}
    assert site.journal("ipmi") == [{"once": True}, {"boot": "network"}, {"power": "on"}]
    assert f"by-hand  {BY_HAND}  (cellar): switch it on, from the network" in said
    for name in MACHINES:
        assert f"{name} is install_pending" in said


def test_no_secret_is_in_what_a_run_says(site: Site) -> None:
    said = site.provision(provision_install="none")
    assert "hush" not in said.stdout + said.stderr


def test_their_firmware_asks_the_network_first(site: Site) -> None:
    for name in MACHINES:
        log = site.lab.machines.get(name).serial_log
        until(lambda log=log: b"iPXE" in log.read_bytes(), 120)


def test_one_that_is_on_is_reset_because_it_is_to_be_installed(site: Site) -> None:
    before = {name: site.lab.machines.get(name).process for name in MACHINES}
    assert site.provision().returncode == 2
    assert site.journal("redfish")[-1]["body"] == {"ResetType": "ForceRestart"}
    assert site.journal("ipmi")[-1] == {"power": "reset"}
    machines = [site.lab.machines.get(name) for name in MACHINES]
    until(lambda: all(one.process not in (None, before[one.name]) for one in machines), 60)


def test_one_that_has_a_system_is_never_reset(site: Site) -> None:
    client = site.api.client()
    for spec in MACHINES.values():
        client.report_state(spec.mac, "installing", phase="boot")
        client.report_state(spec.mac, "installed", phase="first-boot")
    before = len(site.journal("redfish")), len(site.journal("ipmi"))
    assert site.provision().returncode == 2  # they do not answer
    assert (len(site.journal("redfish")), len(site.journal("ipmi"))) == before
    site.lab.machines_off(list(MACHINES), 0)
    assert site.provision().returncode == 2
    assert site.journal("redfish")[before[0] :][0]["body"] == {"ResetType": "On"}
    assert site.journal("ipmi")[before[1] :] == [{"power": "on"}]
    until(lambda: site.running() == set(MACHINES), 60)


def test_a_wrong_password_fails_that_machine_alone(site: Site) -> None:
    site.lab.machines_off(list(MACHINES), 0)
    (site.folder / "secret").write_text('{"username": "admin", "password": "another"}')
    done = site.provision()
    assert done.returncode == 2
    assert site.running() == {"by-redfish"}
    assert "✘ by-ipmi: ipmi_power by 127.0.0.1" in done.stdout
    assert "another" not in done.stdout + done.stderr


def test_a_magic_packet_arrives_on_the_bridge(site: Site) -> None:
    listener = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))\n"
        "s.bind(('br0', 0)); s.settimeout(60); print('ready', flush=True)\n"
        f"wanted = bytes.fromhex('{BY_HAND.replace(':', '')}') * 16\n"
        "while True:\n"
        "    frame = s.recv(2000)\n"
        "    if b'\\xff' * 6 + wanted in frame: break\n"
        "print(frame[:6].hex(), int.from_bytes(frame[36:38], 'big'))\n"
    )
    with subprocess.Popen(
        site.lab.network_argv([sys.executable, "-c", listener]), stdout=subprocess.PIPE, text=True
    ) as heard:
        assert heard.stdout is not None
        assert heard.stdout.readline() == "ready\n"
        options = {"bmc": {"type": "wol", "address": "10.77.0.255"}, "mac": BY_HAND}
        done = subprocess.run(
            site.lab.network_argv([
                str(PROGRAMS / "ansible"), "localhost", "-i", "localhost,", "-c", "local",
                "-m", "kubestead.homelab.machine_power", "-a", json.dumps(options),
            ]),
            cwd=CHECKOUT, env=environment(PROGRAMS), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "woken by a magic packet" in done.stdout, done.stdout + done.stderr
        assert heard.stdout.readline() == "ffffffffffff 9\n"
