# SPDX-License-Identifier: GPL-3.0-or-later
"""A PXE server in the lab, made by the roles: for the tests of network boot and for the boot storm."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kubestead.model.dhcp import Offer, Question, ask
from lab import Lab, MachineSpec, NodeSpec, network
from lab.process import wait_until

CHECKOUT = Path(__file__).resolve().parents[2]
SERVER, ADDRESS = "boot", "10.77.0.10"
LIVE = "/srv/http/machines/registry.json"

INVENTORY = f"""
all:
  hosts:
    {SERVER}: {{ansible_host: {ADDRESS}}}
  children:
    pxe_server: {{hosts: {{{SERVER}: }}}}
    state_api: {{hosts: {{{SERVER}: }}}}
  vars:
    state_api_wheels_from: controller
    state_api_registry_source: ""
    state_api_token_file: ""
    state_api_ca_file: ""
    pxe_server_range: [10.77.0.200, 10.77.0.209]
    pxe_server_domain: lab.test
"""

# Of every dnsmasq that is not the server on trial.
COMMON = """
port=0
interface=br0
bind-interfaces
except-interface=lo
user=root
"""


class Homelab:
    """The lab's network, its PXE server and its controller, which is this computer."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.folder = lab, folder
        (folder / "hosts.yml").write_text(INVENTORY)
        self._processes: list[subprocess.Popen[bytes]] = []

    def up(self) -> None:
        """Start the network and the node; who asks for IPv6's router is answered."""
        self.lab.down()
        self.lab.network_up()
        self.lab.gateway_start()
        self.lab.nodes_up([NodeSpec(SERVER, "debian-13", ADDRESS)])
        bridge = ["ip", "-n", self.lab.namespace, "address", "add", "fd77::1/64", "dev", "br0", "nodad"]
        subprocess.run(bridge, check=True)
        self.dnsmasq("announcer", "enable-ra\ndhcp-range=fd77::,ra-only,64,10m\nra-param=br0,0,0\n")

    def down(self) -> None:
        """Leave nothing."""
        for process in self._processes:
            process.terminate()
            process.wait(10)
        self.lab.down()

    def dnsmasq(self, name: str, settings: str) -> Path:
        """Start a dnsmasq of the test's own in the lab's network; return the file of its leases."""
        file, leases = self.folder / f"{name}.conf", self.folder / f"{name}.leases"
        file.write_text(f"{COMMON}pid-file={file}.pid\ndhcp-leasefile={leases}\n{settings}")
        with (self.folder / f"{name}.log").open("w") as log:
            argv = ["dnsmasq", "--keep-in-foreground", f"--conf-file={file}"]
            process = subprocess.Popen(self.lab.network_argv(argv), stdout=log, stderr=log)
        self._processes.append(process)
        return leases

    def play(self, tags: str = "state_api,pxe_server", **variables: object) -> dict[str, int]:
        """Run the playbook of the PXE server, which builds no images; return the counts of the recap."""
        program = Path(sys.executable).with_name("ansible-playbook")
        argv = [str(program), "-i", str(self.folder / "hosts.yml"), "playbooks/pxe_server.yml"]
        argv += ["--tags", tags, "-e", json.dumps(variables)]
        run = self.lab.enter_network(argv, cwd=CHECKOUT, capture=True)
        said, errors = run.communicate(timeout=600)
        assert run.returncode == 0, f"{said[-6000:]}\n{errors[-2000:]}"
        recap = re.search(rf"^{SERVER} +: (.*)$", said, re.MULTILINE)
        assert recap
        return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", recap[1])}

    def on_server(self, command: str, expect: int = 0) -> str:
        """What a command on the server prints."""
        done = self.lab.ssh(SERVER, [command], timeout=60)
        assert done.returncode == expect, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def python(self, script: str) -> str:
        """Run a script on the server by the State API's program."""
        command = ["/opt/kubestead/state-api/current/bin/python", "-"]
        done = subprocess.run(
            self.lab.ssh_argv(SERVER, command), input=script, text=True, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def write_live(self, text: str) -> None:
        """Save the live registry as an editor does."""
        subprocess.run(self.lab.ssh_argv(SERVER, [f"cat > {LIVE}"]), input=text, text=True, check=True)

    def offer(self, mac: str, **asked: Any) -> Offer | None:
        """What the server on trial offers a machine that asks now."""
        question = Question(mac, **asked)
        [found] = network.inside(self.lab.namespace, lambda: ask("br0", [question], timeout=5, enough=1))
        return next((one for one in found if one.server == ADDRESS), None)

    def address(self, mac: str) -> str:
        """The address that it is offered; empty for none."""
        found = self.offer(mac)
        return found.address if found else ""

    def status(self) -> dict[str, Any]:
        """`kubestead status --server` on the server."""
        found: dict[str, Any] = json.loads(self.on_server("kubestead status --server --json"))
        return found

    def takes(self, text: str, mac: str, ip: str) -> float:
        """Save the live registry, and wait until a machine is offered an address; return the seconds."""
        since = time.monotonic()
        self.write_live(text)
        assert wait_until(lambda: self.address(mac).startswith(ip), 30, pause=0.2), self.follower_log()
        return time.monotonic() - since

    def follower_log(self) -> str:
        """What the service that follows the live registry said last."""
        return self.on_server("journalctl -u pxe-reservations -o cat --no-pager -n 10")

    def cursor(self) -> str:
        """Where the server's journal ends now."""
        shown = self.on_server("journalctl --show-cursor -n 0 --no-pager")
        return shown.rpartition("cursor: ")[2].strip()

    def answered_since(self, cursor: str, path: str) -> bool:
        """Whether the State API has answered a request for a path."""
        command = f"journalctl -u machine-state-api -o cat --no-pager --after-cursor='{cursor}'"
        return f"GET {path}: 200" in self.on_server(command)


def registry(specs: Iterable[MachineSpec], **more: str) -> str:
    """The text of a registry with these machines."""
    entries = {
        spec.mac: {"hostname": spec.name, "role": "worker", "architecture": "amd64", "ip": spec.ip, **more}
        for spec in specs
    }
    return json.dumps(entries, indent=1) + "\n"
