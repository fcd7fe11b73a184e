# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole homelab in the lab: its machines from `inventory/lab`, the cluster by the same playbook as anywhere."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kubestead.deploy import ExitCode, Outcome, run_playbook
from kubestead.model.registry import Registry, RegistryError

from lab import paths
from lab.errors import InputError
from lab.lab import Lab
from lab.software import Software, start_build
from lab.spec import GATEWAY, NodeSpec, check_together

INVENTORY = paths.checkout() / "inventory" / "lab"
API_PORT, KUBERNETES_PORT = 18080, 16443


@dataclass(frozen=True)
class Homelab:
    """The lab's machines and where a person finds what runs on them."""

    lab: Lab
    machines: tuple[NodeSpec, ...]
    control_plane: str

    @classmethod
    def read(cls, lab: Lab, inventory: Path = INVENTORY) -> Homelab:
        """Read the registry and the static hosts beside it; every problem is told at once."""
        try:
            registry = Registry.load(inventory / "registry.json")
        except RegistryError as error:
            raise InputError(error.problems) from error
        specs = [
            NodeSpec(machine.hostname, machine.os or "debian-13", machine.ip or "", mac)
            for mac, machine in registry.machines.items()
        ]
        servers = yaml.safe_load((inventory / "servers.yml").read_text(encoding="utf-8"))
        for name, values in servers["pxe_server"]["hosts"].items():
            specs.append(NodeSpec(name, values["machine_os"], values["ansible_host"]))
        check_together(specs)
        first = [m.hostname for m in registry.machines.values() if m.role == "control-plane"][:1]
        if not first:
            raise InputError(
                f"{inventory / 'registry.json'}: no machine has the role control-plane; expected one"
            )
        return cls(lab, tuple(specs), first[0])

    @property
    def folder(self) -> Path:
        """Where the lab keeps what the run left: tokens, kubeconfig, logs."""
        return self.lab.folder

    @property
    def token_file(self) -> Path:
        return self.folder / "state-api.token"

    @property
    def kubeconfig(self) -> Path:
        """For use inside the lab's network."""
        return self.folder / "kubeconfig.lab"

    @property
    def host_kubeconfig(self) -> Path:
        """For use on this computer, through the forwarded port."""
        return self.folder / "kubeconfig"

    def play(self, playbook: str, software: Software, arguments: Sequence[str] = ()) -> Outcome:
        """Run one of our playbooks inside the lab's network."""
        variables = self.folder / "vars.json"
        variables.write_text(json.dumps(self._variables(software), indent=2) + "\n", encoding="utf-8")
        environment = {
            **self.lab.run_environment(),
            "ANSIBLE_LOG_PATH": str(self.folder / "ansible.log"),
            "KUBESTEAD_API_URL": self._api_url(),
            "KUBESTEAD_API_TOKEN_FILE": str(self.token_file),
        }
        return run_playbook(
            paths.checkout() / "playbooks" / f"{playbook}.yml",
            INVENTORY,
            ["--extra-vars", f"@{variables}", *arguments],
            environment,
            prefix=self.lab.network_command(),
        )

    def _api_url(self) -> str:
        servers = [spec for spec in self.machines if spec.name.endswith("-pxe")]
        return f"http://{servers[0].ip}:8080"

    def _variables(self, software: Software) -> dict[str, Any]:
        """What is known only now; what every lab has is in the inventory."""
        return {
            "lab_cgroup": self.lab.cgroup_version,
            "lab_gateway": GATEWAY,
            "state_api_token_file": str(self.token_file),
            "state_api_cache": str(paths.cache()),
            "kubeadm_init_kubeconfig_dest": str(self.kubeconfig),
            "cni_kubeconfig": str(self.kubeconfig),
            **software.variables(),
        }

    def up(self, software: Software) -> ExitCode:
        """Everything, from nothing to a cluster; what is there already is left as it is."""
        started = time.monotonic()
        print(f"Kubernetes software: {software.text}", flush=True)
        build = start_build(software, self.folder) if software.must_build else None
        try:
            self.lab.nodes_up(list(self.machines))
            print(f"The machines are up ({time.monotonic() - started:.0f} s).", flush=True)
            outcome = self.play("deploy", software)
        finally:
            if build is not None and build.poll() is None:
                build.terminate()
        self._write_host_kubeconfig()
        self._record(outcome, software, time.monotonic() - started)
        print(self._farewell(outcome, software, time.monotonic() - started), flush=True)
        return outcome.code

    def reset(self, software: Software) -> ExitCode:
        """Take the cluster down, keep the machines."""
        outcome = self.play("reset", software, ["--extra-vars", "cluster_reset_confirm=true"])
        if outcome.code == ExitCode.DONE:
            for path in (self.kubeconfig, self.host_kubeconfig):
                path.unlink(missing_ok=True)
        return outcome.code

    def _write_host_kubeconfig(self) -> None:
        if not self.kubeconfig.exists():
            return
        config = yaml.safe_load(self.kubeconfig.read_text(encoding="utf-8"))
        for cluster in config["clusters"]:
            cluster["cluster"]["server"] = f"https://127.0.0.1:{KUBERNETES_PORT}"
        paths.write_private(self.host_kubeconfig, yaml.safe_dump(config))

    def _record(self, outcome: Outcome, software: Software, seconds: float) -> None:
        record = {
            "exit_code": int(outcome.code),
            "seconds": round(seconds),
            "software": software.kind,
            "message": outcome.message,
            **outcome.summary,
        }
        (self.folder / "last-run.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
