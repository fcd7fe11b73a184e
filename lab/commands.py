# SPDX-License-Identifier: GPL-3.0-or-later
"""`./deploy.sh lab …`: the whole homelab. What works on single nodes is in __main__.py."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from bundle.errors import BundleError
from lab import apt, firmware, host, inventory, qemu
from lab.errors import HostError, LabError
from lab.homelab import Homelab
from lab.lab import Lab
from lab.machine_commands import line
from lab.qemu_probe import EMULATED
from lab.software import Software, choose

# What follows these words is another program's, options included.
# Before the command; after it, and also where `up` is left out.
_WITH_VALUE, _FLAGS = ("--lab", "--api-port", "--kube-port"), ("--wait",)
_OF_UP = ("--machines", "--firmware")
PASSED_ON = {"kubectl": "kubectl in the lab's cluster", "kubestead": "ask the lab's State API"}


def split(words: list[str]) -> tuple[list[str], list[str]]:
    """Part our own words from those of a program that is passed on to; no command means `up`."""
    position = 0
    while words[position : position + 1] and words[position] in (*_WITH_VALUE, *_FLAGS):
        position += 2 if words[position] in _WITH_VALUE else 1
    command = words[position] if position < len(words) else ""
    if command in PASSED_ON:
        return words[: position + 1], words[position + 1 :]
    if not command or command.partition("=")[0] in _OF_UP:
        return [*words[:position], "up", *words[position:]], []
    return words, []


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands to the command line."""
    making = commands.add_parser("up", help="machines and cluster; what is there stays (also without a word)")
    making.add_argument(
        "--machines", type=int, metavar="N",
        help="how many virtual machines with empty disks are installed by network (at first 1; 0: none)",
    )  # fmt: skip
    making.add_argument(
        "--firmware", choices=firmware.KINDS, help=f"what new ones have (default: {firmware.BIOS})"
    )
    status = commands.add_parser("status", help="machines, cluster and the last run")
    status.add_argument("--json", action="store_true")
    commands.add_parser("reset", help="take the cluster down, keep the machines")
    for name, about in PASSED_ON.items():
        commands.add_parser(name, help=about, add_help=False)


def up(lab: Lab, arguments: argparse.Namespace) -> int:
    """Everything, from nothing to a cluster."""
    with lab.lock(wait=arguments.wait):
        lab.preflight(installable=True)
        software = _software()
        apt.install([*host.missing_packages(), *software.missing_packages])
        if software.missing_packages:  # only the Go client knows its proxy: ask again, now that it is there
            software = _software()
        lab.preflight()
        homelab, reason = _with_machines(lab, arguments)
        lab.check_room(homelab.machines)
        return homelab.up(software, reason)


def _with_machines(lab: Lab, arguments: argparse.Namespace) -> tuple[Homelab, str]:
    """Write the lab's inventory with the virtual machines that are wanted, or without any and say why."""
    count = inventory.count(lab.folder) if arguments.machines is None else arguments.machines

    def written(count: int, accelerator: str) -> Homelab:
        entries = inventory.entries(lab.folder, count, arguments.firmware, accelerator)
        return Homelab.read(lab, inventory.write(lab.folder, entries))

    if not count:
        return written(0, EMULATED), ""
    try:
        apt.install(qemu.missing_packages())
        homelab = written(count, lab.machines.accelerator().kind)
        lab.machines.check_room(homelab.virtual)
    except HostError as error:
        return written(0, EMULATED), " ".join(map(str, error.problems))
    return homelab, ""


def _software() -> Software:
    try:
        return choose()
    except BundleError as error:
        raise LabError(*error.problems) from error


def reset(lab: Lab, arguments: argparse.Namespace) -> int:
    """Take the cluster down, keep the machines."""
    homelab = Homelab.read(lab)
    if not lab.exists():
        print("There is no lab: nothing to reset.")
        return 0
    with lab.lock(wait=arguments.wait):
        lab.nodes_up(list(homelab.machines))
        lab.gateway_start()
        return homelab.reset(_software())


def status(lab: Lab, arguments: argparse.Namespace) -> int:
    """Show machines, cluster and the last run; end with the last run's exit code."""
    found = Homelab.read(lab).status()
    last = found["last_run"] or {}
    if arguments.json:
        print(json.dumps(found, indent=2))
        return int(last.get("exit_code", 0))
    if not found["exists"]:
        print(f"Lab {lab.name} is not there. ./deploy.sh lab makes it.")
        return 0
    ready = {node["name"]: node for node in found["cluster"]}
    for machine in found["machines"]:
        node = ready.get(machine["name"])
        word = "" if node is None else f"{'Ready' if node['ready'] else 'NotReady'} {node['version']}"
        print(f"{machine['name']:16} {machine['os']:10} {machine['ip']:12} {machine['state']:10} {word}")
    for virtual in found["virtual_machines"]:
        print(line(virtual))
    if last:
        ended = "done" if last["exit_code"] == 0 else last["message"] or f"exit code {last['exit_code']}"
        print(f"last run: {ended}, {last['seconds']} s, software from {last['software']}")
    if found["kubeconfig"]:
        print(f"kubeconfig: {found['kubeconfig']}")
    api = found["state_api"]
    if Path(api["ca_file"]).exists():
        print(f"State API: {api['url']}, token in {api['token_file']}, authority in {api['ca_file']}")
    return int(last.get("exit_code", 0))


def kubectl(lab: Lab, arguments: argparse.Namespace) -> int:
    """Become kubectl on the control plane."""
    argv = Homelab.read(lab).kubectl(arguments.words)
    os.execvp(argv[0], argv)


def kubestead(lab: Lab, arguments: argparse.Namespace) -> int:
    """Become the command `kubestead`, pointed at the lab's State API."""
    homelab = Homelab.read(lab)
    program = str(Path(sys.executable).with_name("kubestead"))
    argv = lab.network_argv([program, *arguments.words])
    os.execvpe(argv[0], argv, {**os.environ, **homelab.api_environment()})


COMMANDS = {"up": up, "reset": reset, "status": status, "kubectl": kubectl, "kubestead": kubestead}
