# SPDX-License-Identifier: GPL-3.0-or-later
"""`./deploy.sh lab machine …`: virtual machines by hand."""

from __future__ import annotations

import argparse
import json
import os

from lab import apt, firmware, host, inventory, machine_console, qemu
from lab.errors import InputError
from lab.lab import Lab
from lab.machine import PATIENCE
from lab.machine_spec import DISK, MEMORY, MachineSpec, address_for, parse_size
from lab.serial_text import plain
from lab.spec import mac_of


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    machine = commands.add_parser(
        "machine", help="virtual machines that boot from the network: up, off, cut, …"
    )
    actions = machine.add_subparsers(dest="action", required=True, metavar="ACTION")
    for action, about in (
        ("up", "make machines with an empty disk and switch them on; those that are there are switched on"),
        ("make", "make them and leave them off"),
    ):
        making = actions.add_parser(action, help=about, description=about)
        making.add_argument("names", nargs="+", metavar="NAME")
        making.add_argument("--firmware", choices=firmware.KINDS, help=f"new ones: {firmware.BIOS}")
        making.add_argument(
            "--disk", type=_size, metavar="SIZE", help=f"such as 20G; new ones: {DISK >> 30}G"
        )
        making.add_argument("--memory", type=int, metavar="MIB", help=f"new ones: {MEMORY}")
        making.add_argument(
            "--ip", help="what the registry of the lab says, else 10.77.0.100 to .199 by its name"
        )
        making.add_argument("--mac", help="what the registry says, else made from the address")
    off = actions.add_parser("off", help="press the button; who does not hear it is switched off")
    off.add_argument("names", nargs="+", metavar="NAME")
    off.add_argument(
        "--patience", type=float, default=PATIENCE, metavar="SECONDS", help="default: %(default)s"
    )
    for action, about in (("cut", "pull the plug"), ("wipe", "remove machines with their disks")):
        actions.add_parser(action, help=about).add_argument("names", nargs="+", metavar="NAME")
    log = actions.add_parser("log", help="what a machine said on its serial port since it was switched on")
    log.add_argument("name")
    log.add_argument("--follow", "-f", action="store_true", help="and what it says from now on")
    actions.add_parser("console", help="a terminal on the serial port; Ctrl-] leaves it").add_argument("name")
    actions.add_parser("list", help="show machines").add_argument("--json", action="store_true")


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def run_command(lab: Lab, arguments: argparse.Namespace) -> int:
    """Do what was asked for."""
    return _ACTIONS[arguments.action](lab, arguments)


def _make(lab: Lab, arguments: argparse.Namespace) -> int:
    if len(arguments.names) > 1 and (arguments.ip or arguments.mac):
        raise InputError("--ip and --mac are for one machine; several are named")
    with lab.lock(wait=arguments.wait):
        specs = wanted(lab, arguments)
        lab.preflight(installable=True)
        apt.install([*host.missing_packages(), *qemu.missing_packages()])
        lab.preflight()
        if arguments.action == "make":
            lab.machines_make(specs)
            return 0
        started = lab.machines_up(specs)
    print(f"switched on: {' '.join(started)}" if started else "all machines were on")
    return 0


def wanted(lab: Lab, arguments: argparse.Namespace) -> list[MachineSpec]:
    """Return what the named machines should be: as typed, else as they are, as registered, as is usual."""
    reserved = _registry(lab)
    taken = {ip for ip, _ in reserved.values()}
    taken.update(spec.ip for spec in lab.node_specs())
    taken.update(spec.ip for spec in lab.machines.specs())
    specs = []
    for name in arguments.names:
        known = lab.machines.get(name).spec
        usual = (known.ip, known.mac) if known else reserved.get(name, ("", ""))
        ip = arguments.ip or usual[0] or address_for(name, taken)
        # A MAC that was made from an address goes with it.
        keep = ip == usual[0] or (usual[0] and usual[1] != mac_of(usual[0]))
        specs.append(
            MachineSpec(
                name,
                ip,
                arguments.mac or (usual[1] if keep else ""),
                arguments.firmware or (known.firmware if known else firmware.BIOS),
                arguments.disk or (known.disk if known else DISK),
                arguments.memory or (known.memory if known else MEMORY),
            )
        )
        taken.add(ip)
    return specs


def _registry(lab: Lab) -> dict[str, tuple[str, str]]:
    """Address and MAC by host name, as the lab's inventory has them."""
    machines = inventory.load(inventory.known(lab.folder)).machines
    return {machine.hostname: (machine.ip or "", mac) for mac, machine in machines.items()}


def _off(lab: Lab, arguments: argparse.Namespace) -> int:
    with lab.lock(wait=arguments.wait):
        lab.machines_off(arguments.names, arguments.patience)
    return 0


def _cut(lab: Lab, arguments: argparse.Namespace) -> int:
    with lab.lock(wait=arguments.wait):
        for machine in [lab.machines.known(name) for name in arguments.names]:
            machine.cut()
    return 0


def _wipe(lab: Lab, arguments: argparse.Namespace) -> int:
    with lab.lock(wait=arguments.wait):
        for name in arguments.names:
            lab.machines.get(name).wipe()
    return 0


def _list(lab: Lab, arguments: argparse.Namespace) -> int:
    found = lab.machines.summaries()
    if arguments.json:
        print(json.dumps(found, indent=1))
        return 0
    for one in found:
        print(line(one))
    return 0


def line(machine: dict[str, object]) -> str:
    """One machine as a line of `list` and `status`."""
    state = f"{machine['state']} ({machine['accelerator']})" if machine["accelerator"] else machine["state"]
    return (
        f"{machine['name']:16} {machine.get('firmware', ''):10} {machine.get('ip', ''):12} {state:14} "
        f"{machine.get('mac', '')} {machine.get('lifecycle') or ''}"
    ).rstrip()


def _log(lab: Lab, arguments: argparse.Namespace) -> int:
    machine = lab.machines.known(arguments.name)
    if not machine.serial_log.exists():
        raise InputError(f"machine {machine.name} was never switched on: it has no log yet")
    if arguments.follow:
        os.execvp("tail", ["tail", "--lines=+1", "--follow=name", "--retry", str(machine.serial_log)])
    print(plain(machine.serial_log.read_bytes()))
    return 0


def _console(lab: Lab, arguments: argparse.Namespace) -> int:
    machine_console.attach(lab.machines.known(arguments.name).serial_socket)
    return 0


_ACTIONS = {
    "up": _make,
    "make": _make,
    "off": _off,
    "cut": _cut,
    "wipe": _wipe,
    "list": _list,
    "log": _log,
    "console": _console,
}
