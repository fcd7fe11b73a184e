# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole homelab in the lab: machines from `inventory/lab`, the cluster by the playbook that all use."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import yaml

from kubestead.deploy import Outcome, run_playbook
from kubestead.exit_codes import ExitCode
from kubestead.model.atomic import write_atomically
from kubestead.model.machine import Machine
from kubestead.model.state_api_client import StateApiClient, StateApiError, read_token
from lab import cgroups, inventory, network, paths
from lab.errors import InputError, LabError
from lab.lab import DEFAULT, Lab
from lab.machine_spec import DISK, MEMORY, WORKER_MEMORY, MachineSpec
from lab.provisioning import Provisioning
from lab.software import Software, start_build
from lab.spec import GATEWAY, PYTHONS, NodeSpec, check_together


@dataclass(frozen=True)
class Homelab:
    """The lab's machines and where a person finds what runs on them."""

    lab: Lab
    inventory: Path
    machines: tuple[NodeSpec, ...]
    """The nodes."""
    virtual: tuple[MachineSpec, ...]
    """The virtual machines that are installed by network."""
    control_plane: str
    server: NodeSpec
    """The machine of the State API, from which the others boot."""

    @classmethod
    def read(cls, lab: Lab, folder: Path | None = None) -> Homelab:
        """Read the registry and the static hosts beside it; every problem is told at once.

        folder: an inventory; None: the lab's own.
        """
        folder = folder or inventory.known(lab.folder)
        machines = inventory.load(folder).machines
        static = yaml.safe_load((folder / "servers.yml").read_text(encoding="utf-8"))
        servers = [
            NodeSpec(name, values["machine_os"], values["ansible_host"])
            for name, values in static["pxe_server"]["hosts"].items()
        ]
        nodes = servers + [
            NodeSpec(machine.hostname, machine.os or "debian-13", machine.ip or "", mac)
            for mac, machine in machines.items()
            if not machine.firmware
        ]
        virtual = tuple(_virtual(lab, machine) for machine in machines.values() if machine.firmware)
        check_together([*nodes, *virtual])
        first = [m.hostname for m in machines.values() if m.role == "control-plane"][:1]
        if not first:
            raise InputError(
                f"{folder / 'registry.json'}: no machine has the role control-plane; expected one"
            )
        return cls(lab, folder, tuple(nodes), virtual, first[0], servers[0])

    @property
    def folder(self) -> Path:
        """Where the lab keeps what the run left: tokens, kubeconfig, logs."""
        return self.lab.folder

    @property
    def token_file(self) -> Path:
        return self.folder / "state-api.token"

    @property
    def ca_file(self) -> Path:
        """The authority that the State API's certificate is verified with."""
        return self.folder / "state-api.ca.crt"

    @property
    def kubeconfig(self) -> Path:
        """For use inside the lab's network."""
        return self.folder / "kubeconfig.lab"

    @property
    def host_kubeconfig(self) -> Path:
        """For use on this computer, through the forwarded port."""
        return self.folder / "kubeconfig"

    @property
    def known_kubeconfig(self) -> Path:
        """What to tell a person: the one for this computer, where the port is forwarded."""
        return self.host_kubeconfig if self.lab.gateway.kube_port else self.kubeconfig

    def play(
        self, playbook: str, software: Software, arguments: Sequence[str] = (), output: IO[str] | None = None
    ) -> Outcome:
        """Run one of our playbooks inside the lab's network. output: where it writes, if not to our own."""
        variables = self.folder / "vars.json"
        write_atomically(variables, json.dumps(self._variables(software), indent=2) + "\n")
        environment = {**self.lab.run_environment(), **self.api_environment()}
        if output is None:
            environment["ANSIBLE_LOG_PATH"] = str(self.folder / "ansible.log")
        return run_playbook(
            paths.checkout() / "playbooks" / f"{playbook}.yml",
            self.inventory,
            ["--extra-vars", f"@{variables}", *arguments],
            environment,
            prefix=self.lab.network_argv([]),
            output=output,
        )

    def api_environment(self) -> dict[str, str]:
        """Where the callback and the command line find the State API, inside the lab's network."""
        return {
            "KUBESTEAD_API_URL": f"https://{self.server.ip}:8080",
            "KUBESTEAD_API_TOKEN_FILE": str(self.token_file),
            "KUBESTEAD_API_CA_FILE": str(self.ca_file),
        }

    def api(self) -> StateApiClient:
        """A client of the State API, for use in a thread that is in the lab's network."""
        place = self.api_environment()
        return StateApiClient(
            place["KUBESTEAD_API_URL"], read_token(str(self.token_file)), ca_file=str(self.ca_file)
        )

    def _variables(self, software: Software) -> dict[str, Any]:
        """What is known only now; what every lab has is in the inventory."""
        machines = inventory.load(self.inventory).machines.values()
        return {
            "lab_cgroup": 1 if cgroups.mode() is cgroups.Mode.BARE_V1 else 2,
            "lab_gateway": GATEWAY,
            "state_api_token_file": str(self.token_file),
            "state_api_ca_file": str(self.ca_file),
            "state_api_cache": str(paths.cache()),
            "boot_images_cache": str(paths.cache() / "images"),
            # Nodes are not installed.
            "boot_images_systems": sorted({m.os or "debian-13" for m in machines if m.firmware}),
            "kubeadm_init_kubeconfig_dest": str(self.kubeconfig),
            "cni_kubeconfig": str(self.kubeconfig),
            # The nodes have a system each, and the lab itself presses the buttons of the others.
            "provision_install": [spec.name for spec in self.virtual],
            "provision_yes": True,
            "provision_known_hosts": str(self.lab.machine_known_hosts),
            **software.variables(),
        }

    def up(self, software: Software, without_virtual: str = "") -> ExitCode:
        """Everything, from nothing to a cluster; what is there already is left as it is.

        without_virtual: why the lab has no virtual machines, if it should have had some.
        """
        started = time.monotonic()
        print(software.text, flush=True)
        if without_virtual:
            print(f"No virtual machine is installed: {without_virtual}", flush=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        build = start_build(software, self.folder) if software.must_build else None
        try:
            wheels = self.fetch_wheels()
            self.lab.nodes_up(list(self.machines))
            self.lab.gateway_start()
            if wheels.wait():
                raise LabError("the State API's Python packages could not be fetched; see the message above")
            print(f"The machines are up ({time.monotonic() - started:.0f} s).", flush=True)
            outcome = Provisioning(self, software).run() if self.virtual else self.play("deploy", software)
        finally:
            if build is not None and build.poll() is None:
                build.terminate()
        seconds = time.monotonic() - started
        self._write_host_kubeconfig()
        self._record(outcome, software, seconds)
        print(self._farewell(outcome, software, seconds), flush=True)
        return outcome.code

    def fetch_wheels(self) -> subprocess.Popen[bytes]:
        """Fetch the State API's wheels while the machines boot: inside their network is no package index."""
        return subprocess.Popen(
            [sys.executable, "-m", "kubestead.model.program_bundle", "--python", PYTHONS[self.server.os]],
            env={**os.environ, "KUBESTEAD_CACHE": str(paths.cache())},
            cwd=paths.checkout(),
            stdin=subprocess.DEVNULL,
        )

    def reset(self, software: Software) -> ExitCode:
        """Take the cluster down, keep the machines."""
        outcome = self.play("reset", software, ["--extra-vars", "cluster_reset_confirm=true"])
        if outcome.code == ExitCode.DONE:
            for path in (self.kubeconfig, self.host_kubeconfig):
                path.unlink(missing_ok=True)
        else:
            print(f"✘ {outcome.message}", file=sys.stderr)
        return outcome.code

    def kubectl(self, words: Sequence[str]) -> list[str]:
        """The command that runs kubectl on the control plane."""
        return self.lab.ssh_argv(
            self.control_plane, ["kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf", *words]
        )

    def cluster_nodes(self) -> list[dict[str, Any]]:
        """The cluster's nodes as Kubernetes sees them; empty when there is no cluster."""
        try:
            done = subprocess.run(
                self.kubectl(["get", "nodes", "--output=json", "--request-timeout=5s"]),
                check=False,
                capture_output=True,
                text=True,
                timeout=30,
            )
        except (LabError, subprocess.TimeoutExpired):
            return []
        items = json.loads(done.stdout)["items"] if done.returncode == 0 else []
        return [
            {
                "name": item["metadata"]["name"],
                "ready": any(
                    c["type"] == "Ready" and c["status"] == "True"
                    for c in item["status"].get("conditions", [])
                ),
                "version": item["status"]["nodeInfo"]["kubeletVersion"],
                "os": item["status"]["nodeInfo"]["osImage"],
            }
            for item in items
        ]

    def status(self) -> dict[str, Any]:
        """Machines, cluster and the last run, as data."""
        record = self.folder / "last-run.json"
        return {
            "lab": self.lab.name,
            "exists": self.lab.exists(),
            "machines": [
                {"name": spec.name, "os": spec.os, "ip": spec.ip, "state": self._state(spec.name)}
                for spec in self.machines
            ],
            "virtual_machines": self._virtual_machines(),
            "cluster": self.cluster_nodes() if self._state(self.control_plane) == "running" else [],
            "kubeconfig": str(self.known_kubeconfig) if self.known_kubeconfig.exists() else None,
            "state_api": {
                "url": self.api_url,
                "token_file": str(self.token_file),
                "ca_file": str(self.ca_file),
            },
            "last_run": json.loads(record.read_text(encoding="utf-8")) if record.exists() else None,
        }

    def _virtual_machines(self) -> list[dict[str, object]]:
        """Each virtual machine, with what the State API says of it where it answers."""
        told: dict[str, Any] = {}
        if self.token_file.exists() and self._state(self.server.name) == "running":
            with contextlib.suppress(StateApiError, LabError):
                told = network.inside(self.lab.namespace, lambda: self.api().machines())
        return [
            {**one, "lifecycle": told.get(str(one.get("mac")), {}).get("state")}
            for one in self.lab.machines.summaries()
        ]

    def _state(self, name: str) -> str:
        node = self.lab.node(name)
        return node.state() if node.folder.is_dir() else "absent"

    @property
    def api_url(self) -> str:
        """The State API as this computer reaches it; without a forwarded port, as its machines do."""
        port = self.lab.gateway.api_port
        return f"https://127.0.0.1:{port}" if port else self.api_environment()["KUBESTEAD_API_URL"]

    def _write_host_kubeconfig(self) -> None:
        if not self.kubeconfig.exists() or not self.lab.gateway.kube_port:
            return
        config = yaml.safe_load(self.kubeconfig.read_text(encoding="utf-8"))
        for cluster in config["clusters"]:
            cluster["cluster"]["server"] = f"https://127.0.0.1:{self.lab.gateway.kube_port}"
        write_atomically(self.host_kubeconfig, yaml.safe_dump(config), 0o600)

    def _record(self, outcome: Outcome, software: Software, seconds: float) -> None:
        record = {
            **outcome.summary,
            "exit_code": int(outcome.code),
            "seconds": round(seconds),
            "software": software.kind,
            "message": outcome.message,
        }
        write_atomically(self.folder / "last-run.json", json.dumps(record, indent=2) + "\n")

    def _farewell(self, outcome: Outcome, software: Software, seconds: float) -> str:
        if outcome.code == ExitCode.NO_SOFTWARE:
            return (
                f"\n✘ The machines, the State API and the container runtime are ready ({seconds:.0f} s), "
                f"but there is no Kubernetes software.\n{software.text}\n"
                "  Give one of these, then run the same command again:\n"
                "  - a way to the public repositories (a proxy: https_proxy),\n"
                "  - a bundle's folder in KUBESTEAD_BUNDLE,\n"
                "  - a Go module proxy (go env GOPROXY): ./deploy.sh bundle --from modules builds a bundle.\n"
            )
        if outcome.code != ExitCode.DONE:
            return (
                f"\n✘ {outcome.message or 'The run did not come to its end.'}\n"
                f"  The whole log: {self.folder / 'ansible.log'}\n"
                "  The same command goes on where this one stopped."
            )
        nodes = "\n".join(
            f"  {node['name']:16} {'Ready' if node['ready'] else 'NotReady':9} {node['version']} {node['os']}"
            for node in self.cluster_nodes()
        )
        nodes += "".join(
            f"\n  {one['name']:16} {one['lifecycle'] or '':9} installed by network ({one['firmware']}, "
            f"{one['accelerator']})"
            for one in self._virtual_machines()
            if one["name"] in {spec.name for spec in self.virtual}
        )
        command = "./deploy.sh lab"
        if self.lab.name != DEFAULT:
            command = f"{command} --lab {self.lab.name}"
        return (
            f"\n✔ The homelab is up ({seconds:.0f} s).\n{nodes}\n\n"
            f"  kubeconfig   {self.known_kubeconfig}\n"
            f"  State API    {self.api_url}  (token in {self.token_file},\n"
            f"               authority for curl --cacert and for the browser in {self.ca_file})\n"
            f"  look around  {command} kubectl get pods -A\n"
            f"               {command} ssh {(self.virtual or self.machines)[-1].name}\n"
            f"               {command} kubestead monitor --once\n"
            f"  take down    {command} reset (the cluster), {command} down (everything)"
        )


def _virtual(lab: Lab, machine: Machine) -> MachineSpec:
    """What a virtual machine of the registry is, or will be made as."""
    known = lab.machines.get(machine.hostname).spec
    return MachineSpec(
        machine.hostname,
        machine.ip or "",
        machine.mac,
        machine.firmware or "",
        known.disk if known else DISK,
        known.memory if known else WORKER_MEMORY if machine.joins_cluster else MEMORY,
    )
