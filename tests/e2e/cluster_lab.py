# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab of control planes and workers for the tests of the cluster, and the plain command on them.

No server stands beside them: no State API, no registry, an inventory as people write one by hand.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from kubestead.deploy import Outcome, run_playbook
from kubestead.exit_codes import ExitCode
from lab import Lab, NodeSpec, cgroups, paths
from lab.software import Software, choose

CHECKOUT = Path(__file__).resolve().parents[2]
SYSTEMS = ("debian-12", "debian-13")


def _hosts(machines: Mapping[str, str]) -> dict[str, Any]:
    return {"hosts": {name: {"ansible_host": ip, "machine_ip": ip} for name, ip in machines.items()}}


class ClusterLab:
    """The nodes, and the plain command on them."""

    def __init__(
        self, name: str, control_planes: Mapping[str, str], workers: Mapping[str, str], **variables: Any
    ) -> None:
        """control_planes, workers: their addresses by name. variables: for all of the inventory."""
        self.lab = Lab(name)
        self.control_planes, self.workers, self.variables = dict(control_planes), dict(workers), variables
        self.software: Software = choose()
        self.inventory = self.lab.folder / "inventory"
        self.kubeconfig = self.lab.folder / "kubeconfig"
        # Not in the lab's folder, which goes with the lab.
        self.diagnostics = Path.home() / ".local/state/kubestead/diagnostics" / name

    # Machines

    def up(self) -> None:
        """Boot the nodes, Debian 12 and 13 by turns, and write the inventory."""
        machines = {**self.control_planes, **self.workers}
        self.lab.nodes_up(
            [
                NodeSpec(name, SYSTEMS[number % len(SYSTEMS)], ip)
                for number, (name, ip) in enumerate(machines.items())
            ]
        )
        self.lab.gateway_start()
        group_vars = self.inventory / "group_vars" / "all"
        group_vars.mkdir(parents=True, exist_ok=True)
        shutil.copy(paths.checkout() / "inventory" / "lab" / "group_vars" / "all" / "lab.yml", group_vars)
        groups = {
            "control_plane": _hosts(self.control_planes),
            "worker": _hosts(self.workers),
            "kubeadm": {"children": {"control_plane": {}, "worker": {}}},
        }
        (self.inventory / "hosts.yml").write_text(json.dumps(groups, indent=2))
        variables = {
            "lab_cgroup": 1 if cgroups.mode() is cgroups.Mode.BARE_V1 else 2,
            "cluster_kubeconfig": str(self.kubeconfig),
            "diagnostics_dest": str(self.diagnostics),
            **self.variables,
            **self.software.variables(),
        }
        (group_vars / "run.json").write_text(json.dumps(variables, indent=2))

    def down(self) -> list[str]:
        """Remove everything; what could not be removed is returned."""
        return self.lab.down()

    @contextlib.contextmanager
    def standing(self, deployed: bool = False) -> Iterator[None]:
        """Nodes that have booted, with a cluster where that is wanted; afterwards nothing may be left."""
        self.down()
        try:
            self.up()
            if deployed:
                outcome = self.play()
                assert outcome.code == ExitCode.DONE, outcome.message
            yield
        finally:
            left = self.down()
        assert left == []

    # The plain command

    def _environment(self) -> dict[str, str]:
        return {**self.lab.run_environment(), "ANSIBLE_LOG_PATH": str(self.lab.folder / "ansible.log")}

    def play(
        self, playbook: str = "deploy", arguments: Sequence[str] = (), output: IO[str] | None = None
    ) -> Outcome:
        """Run one of our playbooks inside the lab's network."""
        return run_playbook(
            CHECKOUT / "playbooks" / f"{playbook}.yml",
            self.inventory,
            arguments,
            self._environment(),
            prefix=self.lab.network_argv([]),
            output=output,
        )

    @contextlib.contextmanager
    def playing(self, playbook: str = "deploy", arguments: Sequence[str] = ()) -> Iterator[Run]:
        """One of our playbooks, to be interrupted; it is killed at the end where it still runs."""
        environment = self._environment()
        path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
        argv = ["ansible-playbook", "--inventory", str(self.inventory), *arguments]
        process = subprocess.Popen(
            self.lab.network_argv([*argv, str(CHECKOUT / "playbooks" / f"{playbook}.yml")]),
            cwd=CHECKOUT,
            env={**os.environ, "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "PATH": path, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        run = Run(process)
        try:
            yield run
        finally:
            run.kill()

    # The nodes

    def on(self, node: str, *words: str, timeout: float = 60) -> str:
        """What a command on a node says."""
        done = self.lab.ssh(node, list(words), timeout=timeout)
        assert done.returncode == 0, f"{node}: {' '.join(words)}: {done.stderr[-2000:]}"
        return done.stdout

    def kubectl(self, node: str, *words: str) -> str:
        """Kubectl on a control plane, by the address that its kubeconfig names."""
        return self.on(node, "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", *words)

    def nodes(self, asked: str) -> dict[str, bool]:
        """The cluster's nodes, and whether each is ready."""
        items = json.loads(self.kubectl(asked, "get", "nodes", "--output=json"))["items"]
        return {
            item["metadata"]["name"]: any(
                one["type"] == "Ready" and one["status"] == "True" for one in item["status"]["conditions"]
            )
            for item in items
        }

    def runs(self, node: str, words: str) -> bool:
        """Whether a process with these words on its command line runs on a node."""
        namespace = os.stat(f"/run/netns/{self.lab.node(node).namespace}")
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if words in line and os.path.samestat(os.stat(folder / "ns" / "net"), namespace):
                    return True
        return False


class Run:
    """A playbook that runs beside the test."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []

    def until(self, words: str) -> None:
        """Read on until a line has these words."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if words in line:
                return
        raise AssertionError(f"the run ended before {words!r}:\n{''.join(self.lines[-60:])}")

    def finish(self) -> str:
        """Wait for its end; all that it said is returned."""
        assert self.process.stdout is not None
        self.lines += self.process.stdout
        self.process.wait()
        return "".join(self.lines)

    def kill(self) -> None:
        """Take it away at once with all that it has started here, as when this computer lost its power.

        What it has started on the nodes is not its own any more, and may go on there.
        """
        for pid in [self.process.pid, *_below(self.process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()


def _below(pid: int) -> list[int]:
    """The processes that a process has started, and those that these have."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            text = path.read_text(errors="replace")
            parent = int(text.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(path.parent.name))
    found: list[int] = []
    wanted = [pid]
    while wanted:
        new = children.get(wanted.pop(), [])
        found += new
        wanted += new
    return found


def eventually(condition: Callable[[], bool], seconds: float = 120, pause: float = 1) -> bool:
    """Whether it comes true."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(pause)
    return True


def changes(outcome: Outcome) -> dict[str, int]:
    """How much each host was changed."""
    hosts = outcome.summary["hosts"]
    return {name: counts["changed"] for name, counts in hosts.items() if counts["changed"]}


def trips(outcome: Outcome) -> dict[str, int]:
    """How many round trips each host took."""
    return {name: counts["round_trips"] for name, counts in outcome.summary["hosts"].items()}
