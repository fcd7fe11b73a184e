# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab of several control planes and a worker, without a server, for the tests that take some away."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from kubestead.deploy import Outcome, run_playbook
from lab import Lab, NodeSpec, cgroups, paths
from lab.software import Software, choose

CHECKOUT = Path(__file__).resolve().parents[2]

CONTROL_PLANES = {"ha-cp-1": "10.77.0.11", "ha-cp-2": "10.77.0.12", "ha-cp-3": "10.77.0.13"}
WORKERS = {"ha-worker-1": "10.77.0.21"}
VIRTUAL_ADDRESS = "10.77.0.99"


def _groups() -> dict[str, Any]:
    """The inventory as people without a registry write it."""

    def hosts(machines: dict[str, str]) -> dict[str, Any]:
        return {
            "hosts": {name: {"ansible_host": ip, "machine_ip": ip} for name, ip in machines.items()},
        }

    return {
        "control_plane": hosts(CONTROL_PLANES),
        "worker": hosts(WORKERS),
        "kubeadm": {"children": {"control_plane": {}, "worker": {}}},
    }


class HighlyAvailable:
    """The nodes, and the plain command on them."""

    def __init__(self, name: str = "ha") -> None:
        self.lab = Lab(name)
        self.software: Software = choose()
        self.inventory = self.lab.folder / "inventory"
        self.kubeconfig = self.lab.folder / "kubeconfig"

    def up(self) -> None:
        """Boot the nodes and write the inventory."""
        systems = ["debian-12", "debian-13", "debian-12", "debian-13"]
        machines = {**CONTROL_PLANES, **WORKERS}
        self.lab.nodes_up(
            [
                NodeSpec(name, system, ip)
                for (name, ip), system in zip(machines.items(), systems, strict=False)
            ]
        )
        self.lab.gateway_start()
        group_vars = self.inventory / "group_vars" / "all"
        group_vars.mkdir(parents=True, exist_ok=True)
        shutil.copy(paths.checkout() / "inventory" / "lab" / "group_vars" / "all" / "lab.yml", group_vars)
        (self.inventory / "hosts.yml").write_text(json.dumps(_groups(), indent=2))
        variables = {
            "lab_cgroup": 1 if cgroups.mode() is cgroups.Mode.BARE_V1 else 2,
            "cluster_kubeconfig": str(self.kubeconfig),
            "control_plane_endpoint_vip": VIRTUAL_ADDRESS,
            **self.software.variables(),
        }
        (group_vars / "run.json").write_text(json.dumps(variables, indent=2))

    def play(
        self, playbook: str = "deploy", arguments: Sequence[str] = (), output: IO[str] | None = None
    ) -> Outcome:
        """Run one of our playbooks inside the lab's network."""
        return run_playbook(
            CHECKOUT / "playbooks" / f"{playbook}.yml",
            self.inventory,
            arguments,
            {**self.lab.run_environment(), "ANSIBLE_LOG_PATH": str(self.lab.folder / "ansible.log")},
            prefix=self.lab.network_argv([]),
            output=output,
        )

    def on(self, node: str, *words: str, timeout: float = 60) -> str:
        """What a command on a node says."""
        done = self.lab.ssh(node, list(words), timeout=timeout)
        assert done.returncode == 0, f"{node}: {' '.join(words)}: {done.stderr[-2000:]}"
        return done.stdout

    def kubectl(self, node: str, *words: str) -> str:
        """Kubectl on a control plane, by its own API server."""
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

    def down(self) -> list[str]:
        """Remove everything; what could not be removed is returned."""
        return self.lab.down()


def changes(outcome: Outcome) -> dict[str, int]:
    """How much each host was changed."""
    hosts = outcome.summary["hosts"]
    return {name: counts["changed"] for name, counts in hosts.items() if counts["changed"]}


def trips(outcome: Outcome) -> dict[str, int]:
    """How many round trips each host took."""
    return {name: counts["round_trips"] for name, counts in outcome.summary["hosts"].items()}


def lab_home() -> Path:
    """Where labs are."""
    return Path(os.environ.get("KUBESTEAD_LAB_HOME", "/var/lib/kubestead"))
