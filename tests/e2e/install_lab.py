# SPDX-License-Identifier: GPL-3.0-or-later
"""One lab for all tests of whole installations: a PXE server by our own roles, machines that boot from it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest

from kubestead.exit_codes import ExitCode
from kubestead.model.lifecycle import INSTALL_PENDING, READY
from kubestead.model.state_api_client import StateApiClient, StateApiError
from kubestead.model.state_api_machines import condition
from lab import Lab, MachineSpec, NodeSpec, inventory, network
from lab.homelab import Homelab
from lab.machine import Machine
from lab.process import wait_until
from lab.qemu_probe import EMULATED
from lab.serial_text import last_lines, plain
from lab.software import NONE, Software
from tests.figures import tell

NAME = "install"
SERVER = NodeSpec("lab-pxe", "debian-13", "10.77.0.10")
NO_SOFTWARE = Software(NONE, "", "")
# Emulated, on two processors that others use too: past these something hangs.
INSTALL_SECONDS = 1500
BOOT_SECONDS = 900

SAYS_DISK = "this is the local disk"
_T = TypeVar("_T")


def boot_sector() -> bytes:
    """A first sector that says on the serial port that it was booted, and a partition: no empty disk."""
    code = bytes.fromhex("31c0 8ed8 be177c fc ac 84c0 7406 baf803 ee ebf5 fa f4 ebfd")
    partition = bytes.fromhex("80 000000 83 000000 00080000 00080000")
    text = (SAYS_DISK + "\r\n\0").encode()
    return (code + text).ljust(446, b"\0") + partition.ljust(64, b"\0") + b"\x55\xaa"


def checksum(path: Path) -> str:
    """The checksum of a disk."""
    with path.open("rb") as disk:
        return hashlib.file_digest(disk, "sha256").hexdigest()


@dataclass
class InstallLab:
    """The lab, and what tests ask of it."""

    machines: dict[str, MachineSpec]
    """Those of the registry, by name."""
    lab: Lab = field(default_factory=lambda: Lab(NAME, say=print))
    entries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By name, what an entry in the registry has beside what those of the lab's machines have."""
    variables: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the roles."""

    @property
    def homelab(self) -> Homelab:
        """The lab as `./deploy.sh lab` sees it, without the cluster's nodes."""
        folder = inventory.known(self.lab.folder)
        return Homelab(self.lab, folder, (SERVER,), tuple(self.machines.values()), "", SERVER)

    def up(self) -> None:
        """The PXE server, by our own roles, with the image that the machines get."""
        self.lab.preflight()
        known = inventory.entries(self.lab.folder, 1, None, EMULATED)
        [pattern] = [entry for entry in known.values() if "firmware" in entry]
        own = {
            spec.mac: {
                **pattern,
                **self.entries.get(spec.name, {}),
                "hostname": spec.name,
                "ip": spec.ip,
                "firmware": spec.firmware,
            }
            for spec in self.machines.values()
        }
        inventory.write(self.lab.folder, own)
        wheels = self.homelab.fetch_wheels()
        self.lab.nodes_up([SERVER])
        self.lab.gateway_start()
        assert wheels.wait() == 0
        started = time.monotonic()
        self.provision()
        tell(f"PXE server, State API and image: {time.monotonic() - started:.0f} s")

    def provision(self, *install: str, expect: ExitCode = ExitCode.DONE) -> str:
        """Run provision.yml for these machines, without any for the server alone; return what it said."""
        log = self.lab.folder / "provision.log"
        variables = json.dumps(
            {
                "provision_install": list(install) or "none",
                "provision_timeout": INSTALL_SECONDS,
                **self.variables,
            }
        )
        limit = ":".join(["localhost", SERVER.name, *install])
        with log.open("w", encoding="utf-8") as output:
            arguments = ["--extra-vars", variables, "--limit", limit]
            outcome = self.homelab.play("provision", NO_SOFTWARE, arguments, output)
        said = log.read_text(encoding="utf-8")
        assert outcome.code == expect, said[-6000:]
        return said

    def install(self, *names: str) -> dict[str, float]:
        """Have machines installed by the playbook, switched on as a person would; return when that was."""
        with ThreadPoolExecutor(1) as pool:
            run = pool.submit(self.provision, *names)

            def asked_for() -> bool:
                with suppress(StateApiError):  # the run may start it anew
                    return all(self.view(name)["state"] == INSTALL_PENDING for name in names)
                return False

            wait_until(lambda: run.done() or asked_for(), INSTALL_SECONDS, 0.5)
            since = {name: self.switch_on(name) for name in names} if not run.done() else {}
            said = run.result()
        for name in names:
            assert self.view(name)["state"] == READY, said[-3000:]
        return since

    # Machines

    def make(self, *names: str) -> None:
        """Machines with empty disks."""
        self.lab.machines_make([self.machines[name] for name in names])

    def __getitem__(self, name: str) -> Machine:
        return self.lab.machines.get(name)

    def switch_on(self, name: str) -> float:
        """Pull the plug if need be, then switch on; return when that was."""
        machine = self[name]
        machine.cut()
        moment = time.time()
        assert machine.power_on(self.lab.machines.accelerator())
        return moment

    @contextmanager
    def unchanged(self, name: str) -> Iterator[None]:
        """A machine's disk is the same before and after; it ends switched off."""
        before = checksum(self[name].disk)
        yield
        self[name].cut()
        assert checksum(self[name].disk) == before

    def serial(self, name: str) -> str:
        """What a machine said since it was switched on."""
        return plain(self[name].serial_log.read_bytes())

    def last_words(self, name: str) -> str:
        """The end of that, to go behind a reason for a failure."""
        return "; its last words:\n" + "\n".join(last_lines(self[name].serial_log, 40))

    def wait_serial(self, name: str, words: str, seconds: float = BOOT_SECONDS) -> None:
        """Until a machine says something on its serial port."""
        said = wait_until(lambda: words in self.serial(name).replace("\n", ""), seconds, 0.2)
        assert said, f"{name} did not say {words!r}{self.last_words(name)}"

    def wait_off(self, name: str, seconds: float = BOOT_SECONDS) -> None:
        """Until a machine has switched itself off."""
        off = wait_until(lambda: not self[name].running(), seconds, 0.2)
        assert off, f"{name} is still on{self.last_words(name)}"

    def _run(self, name: str, command: str, seconds: float, known: bool) -> subprocess.CompletedProcess[str]:
        argv = self.lab.ssh_argv(name, ["sh", "-c", command])
        if not known:
            argv[1:1] = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
            argv[1:1] = ["-o", "GlobalKnownHostsFile=/dev/null"]
        return subprocess.run(
            argv, check=False, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL
        )

    def ssh(self, name: str, command: str, seconds: float = 180, *, known: bool = True) -> str:
        """What a command on a machine prints. known: its host key is known, and checked."""
        done = self._run(name, command, seconds, known)
        assert done.returncode == 0, f"{command}: {done.stderr}{done.stdout}"
        return done.stdout.strip()

    def wait_ssh(self, name: str, seconds: float = BOOT_SECONDS, *, known: bool = True) -> None:
        """Until a machine lets us in."""
        ip = self.machines[name].ip

        def lets_in() -> bool:
            there = network.answers(self.lab.namespace, ip, 22)
            return there and self._run(name, "true", 180, known).returncode == 0

        reached = wait_until(lets_in, seconds, 0.5)
        assert reached, f"{name}: {self._run(name, 'true', 180, known).stderr}{self.last_words(name)}"

    # The State API

    def ask(self, question: Callable[[StateApiClient], _T]) -> _T:
        """Ask the State API, in the lab's network."""
        homelab = self.homelab

        def asked() -> _T:
            client = homelab.api()
            try:
                return question(client)
            finally:
                client.close()

        return network.inside(self.lab.namespace, asked)

    def view(self, name: str) -> dict[str, Any]:
        """A machine as the State API has it."""
        mac = self.machines[name].mac
        found: dict[str, Any] = self.ask(lambda client: client.machine(mac))
        return found

    def data(self, mac: str, key: str) -> Any:
        """A value that was reported of a machine."""
        return self.ask(lambda client: client.data(mac, key))["value"]

    def act(self, name: str, action: str) -> dict[str, Any]:
        """Do something to a machine as an operator does."""
        body = {"hostname": name} if action == "reinstall" else {}
        mac = self.machines[name].mac
        found: dict[str, Any] = self.ask(lambda client: client.act(mac, action, **body))
        return found

    def events(self, name: str) -> list[dict[str, Any]]:
        """What happened to a machine, in its order."""
        mac = self.machines[name].mac
        found: list[dict[str, Any]] = self.ask(lambda client: client.events(mac=mac, limit=500))
        return sorted(found, key=lambda event: event["id"])

    def wait_view(
        self, name: str, holds: Callable[[Mapping[str, Any]], bool], seconds: float = INSTALL_SECONDS
    ) -> dict[str, Any]:
        """Until something holds of a machine, as the State API has it; one that is away is asked again."""
        seen: dict[str, Any] = {}

        def so() -> bool:
            with suppress(StateApiError):
                seen.update(self.view(name))
            return bool(seen) and holds(seen)

        if not wait_until(so, seconds, 0.3):
            told = [
                " ".join(str(event[key]) for key in ("at", "kind", "state", "phase", "message", "error"))
                for event in self.events(name)
            ]
            pytest.fail("\n".join([f"{name} {condition(seen)}{self.last_words(name)}", "events:", *told]))
        return seen

    def wait_state(self, name: str, *states: str, seconds: float = INSTALL_SECONDS) -> dict[str, Any]:
        """Until a machine is in one of these states."""
        return self.wait_view(name, lambda view: view["state"] in states, seconds)

    def wait_phase(self, name: str, *phases: str, seconds: float = INSTALL_SECONDS) -> dict[str, Any]:
        """Until a machine says that it is in one of these phases."""
        return self.wait_view(name, lambda view: view["phase"] in phases, seconds)

    def wait_installed(self, name: str, attempt: int) -> None:
        """Until a machine runs what this attempt has installed, from its disk, and has said so."""
        view = self.wait_view(name, lambda view: view["state"] == "failed" or view["phase"] == "first-boot")
        assert view["state"] == "installed", f"{view['error']}{self.last_words(name)}"
        found = view["install"]
        assert (found["attempts"], found["completed_id"]) == (attempt, found["desired_id"])
        self.wait_ssh(name, known=False)
        source = self.ssh(name, "findmnt --noheadings --output SOURCE /", known=False)
        assert source.startswith("/dev/vda"), source

    def on_server(self, command: str) -> str:
        """What a command on the PXE server prints."""
        return self.ssh(SERVER.name, command)

    # Figures

    def tell_times(self, name: str, method: str, since: float) -> dict[str, float]:
        """Print how long it took from power-on to each step of an installation; return the seconds."""
        steps: dict[str, float] = {}
        for event in self.events(name):
            at = datetime.fromisoformat(event["at"].replace("Z", "+00:00")).timestamp() - since
            if at < 0:
                continue
            if event["state"] == "installing":
                steps.setdefault("boot script", at)
            if event["state"] in ("installed", "ready"):
                steps.setdefault(event["state"], at)
        told = ", ".join(f"{step} {seconds:.0f} s" for step, seconds in steps.items())
        tell(f"{name} by {method}, {self[name].accelerator()}, from power-on: {told}")
        return steps
