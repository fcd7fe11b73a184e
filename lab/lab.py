# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole lab: its network, gateway and nodes. Each step may be repeated and repairs what is half-made."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TypeVar

from kubestead.model.atomic import write_atomically
from lab import base, cgroups, folders, host, limits, lock, network, paths
from lab.errors import HostError, InputError, LabError
from lab.gateway import Gateway
from lab.machine_spec import MachineSpec
from lab.machines import Machines
from lab.node import Node
from lab.process import run, wait_until
from lab.spec import Identified, NodeSpec, check_lab_name, check_together

DEFAULT = "lab"
BOOT_SECONDS = 120

Say = Callable[[str], None]
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def _silent(_: str) -> None:
    pass


class Lab:
    """One lab by its name."""

    def __init__(
        self,
        name: str = DEFAULT,
        *,
        say: Say = _silent,
        api_port: int | None = None,
        kube_port: int | None = None,
    ) -> None:
        self.name = check_lab_name(name)
        self.say = say
        self.folder = paths.home() / name
        self.namespace = network.lab_namespace(name)
        if name == DEFAULT:
            api_port, kube_port = api_port or 18080, kube_port or 16443
        self.gateway = Gateway(name, self.folder, api_port=api_port, kube_port=kube_port)
        self.machines = Machines(name, self.folder)
        self.private_key = self.folder / "id_ed25519"
        self.known_hosts = self.folder / "known_hosts"
        self.machine_known_hosts = self.folder / "known_hosts.machines"
        self.ssh_config = self.folder / "ssh_config"

    # Before anything is changed

    def preflight(self, *, installable: bool = False) -> None:
        """Refuse, with all problems at once, a computer that cannot carry the lab.

        installable: packages that are missing are no problem: the caller installs them.
        """
        running = self.gateway.process()
        pid = running.pid if running else None
        if found := host.problems(self.gateway.ports(), pid, installable=installable):
            raise HostError(*found)

    def lock(self, *, wait: bool = False) -> AbstractContextManager[None]:
        """Hold the lab for this run."""
        return lock.held(paths.home() / f"{self.name}.lock", f"lab {self.name}", wait=wait)

    # Up

    def network_up(self) -> None:
        """Make the folder, the ssh key and the bridge."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        (self.folder / "ssh").mkdir(exist_ok=True)
        if not self.private_key.with_suffix(".pub").is_file():
            self.private_key.unlink(missing_ok=True)
            run(
                [
                    "ssh-keygen",
                    "-q",
                    "-t",
                    "ed25519",
                    "-N",
                    "",
                    "-C",
                    f"lab {self.name}",
                    "-f",
                    str(self.private_key),
                ]
            )
        host.load_kernel_modules()
        network.ensure_lab(self.name)

    def gateway_start(self) -> None:
        """Start what the nodes reach the outside through."""
        self.gateway.start()

    def gateway_stop(self) -> None:
        """Stop it."""
        self.gateway.stop()

    def nodes_up(self, specs: Sequence[NodeSpec]) -> list[str]:
        """Make and boot nodes side by side, wait until each answers; return which were not running before."""
        self.check_room(specs)
        self._check_addresses(specs)
        base.ensure((spec.os for spec in specs), self.say)
        self.network_up()
        key = self.private_key.with_suffix(".pub").read_text()

        def make(spec: NodeSpec) -> str | None:
            node = self.node(spec.name)
            node.make(spec, key)
            if node.running() and network.answers(self.namespace, spec.ip, 22):
                return None
            node.start()
            return spec.name

        started = [name for name in self._each(make, specs) if name]
        self._write_ssh()
        self._each(self._wait_ready, started)
        return started

    def check_room(self, specs: Sequence[NodeSpec]) -> None:
        """Refuse nodes that this computer's kernel has no room for beside what runs on it."""
        if found := limits.problems(sum(not self.node(spec.name).running() for spec in specs)):
            raise HostError(*found)

    def _check_addresses(self, specs: Sequence[NodeSpec]) -> None:
        names = {spec.name for spec in specs}
        others: list[Identified] = [spec for spec in self.node_specs() if spec.name not in names]
        check_together([*specs, *others, *self.machines.specs()])

    def machines_make(self, specs: Sequence[MachineSpec]) -> None:
        """Make virtual machines with empty disks, switched off."""
        names = {spec.name for spec in specs}
        others: list[Identified] = [spec for spec in self.machines.specs() if spec.name not in names]
        check_together([*specs, *others, *self.node_specs()])
        self.network_up()
        self._each(lambda spec: self.machines.get(spec.name).make(spec), specs)
        self._write_ssh()

    def machines_up(self, specs: Sequence[MachineSpec]) -> list[str]:
        """Make and switch on virtual machines, network boot first; return which were off before."""
        self.machines.check_room(specs)
        self.machines_make(specs)
        accelerator = self.machines.accelerator()
        self.say(str(accelerator))

        def switch_on(spec: MachineSpec) -> str | None:
            return spec.name if self.machines.get(spec.name).power_on(accelerator) else None

        return [name for name in self._each(switch_on, specs) if name]

    def machines_off(self, names: Sequence[str], patience: float) -> None:
        """Switch off virtual machines, all at once; see `Machine.power_off`."""
        self._each(lambda machine: machine.power_off(patience), [self.machines.known(name) for name in names])

    def node_start(self, name: str) -> None:
        """Boot a node that exists and wait until it answers."""
        node = self._known(name)
        if not node.running():
            node.start()
        self._write_ssh()
        self._wait_ready(name)

    def node_stop(self, name: str) -> None:
        """Shut a node down in order."""
        self._known(name).stop()

    def node_cut(self, name: str) -> None:
        """Take a node's power away."""
        self._known(name).cut()

    def node_wipe(self, name: str) -> None:
        """Remove a node with its disk; the next `nodes_up` makes it anew."""
        self.node(name).wipe()
        if self.folder.is_dir():
            self._write_ssh()

    def _wait_ready(self, name: str) -> None:
        node = self.node(name)
        spec = node.spec
        if spec is None:
            raise LabError(f"node {name} vanished")

        def answers_or_gone() -> bool:
            return network.answers(self.namespace, spec.ip, 22) or not node.running()

        wait_until(answers_or_gone, BOOT_SECONDS)
        if not node.running():
            raise LabError(f"node {name} ended while it booted; its console said:\n{node.console()}")
        said = self.ssh(name, ["systemctl", "is-system-running", "--wait"], timeout=BOOT_SECONDS)
        if said.stdout.strip() != "running":
            failed = self.ssh(
                name, ["systemctl", "list-units", "--failed", "--plain", "--no-legend"]
            ).stdout.strip()
            reason = failed or said.stderr.strip() or said.stdout.strip() or node.console()
            raise LabError(f"node {name} did not come up ({said.stdout.strip() or 'no answer'}): {reason}")

    # Looking and working in it

    def exists(self) -> bool:
        """Say whether anything of the lab is there."""
        return self.folder.is_dir() or network.exists(self.namespace)

    def node(self, name: str) -> Node:
        """Return a node by its name, whether it exists or not."""
        return Node(self.name, self.folder, name)

    def _known(self, name: str) -> Node:
        node = self.node(name)
        if node.spec is None:
            names = ", ".join(one.name for one in self.nodes()) or "none"
            raise InputError(f"lab {self.name} has no node {name!r}; it has: {names}")
        return node

    def nodes(self) -> list[Node]:
        """Return the nodes that have a folder."""
        found = sorted(path.name for path in (self.folder / "nodes").glob("*") if path.is_dir())
        return [self.node(name) for name in found]

    def node_specs(self) -> list[NodeSpec]:
        """Return what the nodes were made as."""
        return [spec for node in self.nodes() if (spec := node.spec)]

    def run_environment(self) -> dict[str, str]:
        """Return what ansible and ssh need to know in the lab."""
        options = (
            f"-F none -o StrictHostKeyChecking=yes -o UserKnownHostsFile={self.known_hosts} "
            f"-o GlobalKnownHostsFile={self.machine_known_hosts}"
        )
        return {
            "ANSIBLE_PRIVATE_KEY_FILE": str(self.private_key),
            "ANSIBLE_REMOTE_USER": "root",
            "ANSIBLE_HOST_KEY_CHECKING": "True",
            "ANSIBLE_SSH_COMMON_ARGS": options,
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "ssh"),
            "KUBESTEAD_LAB": self.name,
            "KUBESTEAD_LAB_FOLDER": str(self.folder),
        }

    def network_command(self) -> list[str]:
        """Return the command that runs another one in the lab's network."""
        return self.network_argv([])

    @property
    def cgroup_version(self) -> int:
        """Return which version of cgroups the nodes see."""
        return cgroups.mode().version

    def network_argv(self, argv: Sequence[str]) -> list[str]:
        """Return the command that runs another in the lab's network."""
        if not network.exists(self.namespace):
            raise InputError(f"lab {self.name} is not up")
        return ["nsenter", f"--net={network.NAMESPACES / self.namespace}", "--", *argv]

    def enter_network(
        self,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        *,
        cwd: Path | None = None,
        capture: bool = False,
    ) -> subprocess.Popen[str]:
        """Start a program in the lab's network, with the environment for ansible."""
        output = subprocess.PIPE if capture else None
        return subprocess.Popen(
            self.network_argv(argv), cwd=cwd, text=True, stdout=output, stderr=output,
            env={**os.environ, **self.run_environment(), **(env or {})},
        )  # fmt: skip

    def ssh_argv(self, name: str, command: Sequence[str] = ()) -> list[str]:
        """Return the command that opens a shell on a node, or runs something there."""
        machine = self.machines.get(name)
        known = machine.name if machine.spec else self._known(name).name
        return ["ssh", "-F", str(self.ssh_config), known, *_remote(command)]

    def ssh(self, name: str, command: Sequence[str], timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command on a node."""
        return subprocess.run(
            self.ssh_argv(name, command), check=False, capture_output=True, text=True,
            timeout=timeout, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def _write_ssh(self) -> None:
        """Write known_hosts and a configuration for ssh, from the nodes and machines that are there.

        Machines make their keys themselves: whoever installs them writes those to a file of its own.
        """
        write_atomically(self.known_hosts, "".join(node.host_key() for node in self.nodes()))
        there: list[Identified] = [*self.node_specs(), *self.machines.specs()]
        entries = [f"Host {spec.name} {spec.ip}\n  HostName {spec.ip}\n" for spec in there]
        connect = [sys.executable, "-I", "-S", str(Path(__file__).with_name("connect.py"))]
        common = (
            f"Host *\n  User root\n  IdentityFile {self.private_key}\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {self.known_hosts}\n"
            f"  GlobalKnownHostsFile {self.machine_known_hosts}\n"
            "  StrictHostKeyChecking yes\n  ConnectTimeout 10\n  LogLevel ERROR\n  ProxyUseFdpass yes\n"
            f"  ProxyCommand {shlex.join(connect)} {network.NAMESPACES / self.namespace} %h %p\n"
        )
        write_atomically(self.ssh_config, "".join(entries) + common)

    # Down

    def down(self) -> list[str]:
        """Remove everything of the lab; return what could not be removed."""
        left: list[str] = []

        def attempt(action: Callable[[], object]) -> None:
            try:
                action()
            except (LabError, OSError) as error:
                left.append(str(error))

        self._close_connections()
        parts = [*self.nodes(), *self.machines.all()]
        with ThreadPoolExecutor(max(len(parts), 1)) as pool:
            list(pool.map(lambda part: attempt(part.wipe), parts))
        attempt(self.gateway.stop)
        attempt(partial(network.end_processes, self.namespace))
        if cgroups.mode() is cgroups.Mode.SYSTEMD:  # stays when its last unit has ended
            attempt(lambda: run(["systemctl", "stop", cgroups.slice_of(self.name)]))
        for namespace in self._namespaces():
            attempt(partial(network.remove, namespace))
        attempt(lambda: folders.remove(self.folder))
        if (
            not left
            and paths.home().is_dir()
            and all(one.suffix == ".lock" for one in paths.home().iterdir())
        ):
            self.say("nothing of the lab is left; the cache stays: " + str(paths.cache()))
        return left

    def _namespaces(self) -> Iterable[str]:
        if not network.NAMESPACES.is_dir():
            return []
        ours = network.node_namespace(self.name, "")
        names = sorted(path.name for path in network.NAMESPACES.iterdir())
        return [name for name in names if name == self.namespace or name.startswith(ours)]

    def _close_connections(self) -> None:
        """End the ssh connections that ansible keeps open."""
        for socket in (self.folder / "ssh").glob("*"):
            subprocess.run(["ssh", "-F", "none", "-O", "exit", "-o", f"ControlPath={socket}", "lab"],
                           check=False, capture_output=True)  # fmt: skip

    @staticmethod
    def _each(action: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
        """Do something for all at once; all problems are told together."""
        results: list[_Result] = []
        problems: list[str] = []
        with ThreadPoolExecutor(max(len(items), 1)) as pool:
            for future in [pool.submit(action, item) for item in items]:
                try:
                    results.append(future.result())
                except InputError:
                    raise
                except (LabError, OSError, subprocess.SubprocessError) as error:
                    problems.append(str(error))
        if problems:
            raise LabError(*problems)
        return results


def _remote(command: Sequence[str]) -> list[str]:
    return ["--", shlex.join(command)] if len(command) > 1 else list(command)
