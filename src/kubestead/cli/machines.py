# SPDX-License-Identifier: GPL-3.0-or-later
"""`kubestead machines`: what the machines are, should be, and are told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from kubestead.model.entry_change import entry_of
from kubestead.model.mac import normalise_mac
from kubestead.model.registry import Registry

from . import completion, entries, exchange
from .actions import act
from .command import command
from .details import machine_details
from .enrolments import machines_adopt
from .events import show_events
from .installations import installation_facts, machines_install, machines_reinstall, machines_rescue
from .joins import join_facts
from .names import find
from .options import MaybeMachine, SomeMachine, SomeMachines
from .output import as_json, note, one_line, print_json, show, width
from .places import place
from .proposals import hardware_facts, hardware_of, machines_features
from .session import Session
from .table import MachineTable
from .views import View, summary, view_of

machines = typer.Typer(help="The machines: what they should be, and how they are.", no_args_is_help=True)

_FILE_FORMAT = Annotated[
    exchange.Format | None,
    typer.Option("--format", help="The file's format; without it, by its name.", show_default=False),
]


@command(machines, "list", registry=True)
def machines_list(session: Session) -> None:
    """List the machines, a line each: what they should be and how they are."""
    views = _views(session)
    if session.json:
        print_json(views)
        return
    table = MachineTable(list(views.values()), width())
    show(table.heading(), *table.rows())


@command(machines, "status", registry=False)
def machines_status(session: Session, machine: MaybeMachine = None) -> None:
    """Show how one machine is and what happened to it last, or how all are."""
    views = session.api.machines()
    if machine is None:
        if session.json:
            print_json(views)
            return
        table = MachineTable(list(views.values()), width())
        show(summary(views), "", table.heading(), *table.rows())
        return
    mac = find(views, machine)
    if session.json:
        print_json({mac: views[mac]})
        return
    hardware = hardware_facts(hardware_of(session, mac), views[mac])
    more = [*installation_facts(session, views[mac]), *join_facts(session, mac), *hardware]
    show(*machine_details(views[mac], session.api.events(mac=mac, limit=10), more))


@command(machines, "config", registry=True)
def machines_config(session: Session, machine: SomeMachine) -> None:
    """Print what the registry says of a machine, with all that follows from it, as JSON."""
    if session.registry_file:
        print_json(entries.named(place(session).read(), machine).as_dict())
        return
    print_json(session.api.config(find(session.api.machines(), machine)))


@command(machines, "add", registry=True)
def machines_add(
    session: Session,
    mac: Annotated[str, typer.Argument(metavar="MAC", help="Its MAC address, in any notation.")],
    hostname: Annotated[str, typer.Argument(metavar="HOSTNAME", help="Its name.")],
    role: Annotated[
        str,
        typer.Argument(
            metavar="ROLE", help="control-plane, worker or compute.", autocompletion=completion.roles
        ),
    ],
    architecture: Annotated[
        str, typer.Argument(metavar="ARCH", help="amd64 or arm64.", autocompletion=completion.architectures)
    ],
    *,
    features: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FEATURE",
            help="kubernetes, gpu, nfs, storage, compute, inference, monitoring.",
            autocompletion=completion.features,
            show_default=False,
        ),
    ] = None,
    ip: Annotated[
        str | None, typer.Option(help="Its address.", metavar="ADDRESS", show_default=False)
    ] = None,
    os: Annotated[
        str | None,
        typer.Option(
            help="Its system, such as debian-13.",
            autocompletion=completion.operating_systems,
            show_default=False,
        ),
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Its cluster, if not `homelab`.", metavar="NAME", show_default=False)
    ] = None,
    distribution: Annotated[
        str | None, typer.Option(help="kubeadm, rke2 or k3s.", metavar="NAME", show_default=False)
    ] = None,
    firmware: Annotated[
        str | None, typer.Option(help="bios or uefi.", metavar="NAME", show_default=False)
    ] = None,
    disk: Annotated[
        str | None,
        typer.Option(help="Where to install: /dev/disk/by-id/…", metavar="PATH", show_default=False),
    ] = None,
    install_method: Annotated[
        str | None,
        typer.Option(help="How it is installed: image or installer.", metavar="NAME", show_default=False),
    ] = None,
    gpu_pci_address: Annotated[
        str | None,
        typer.Option(
            help="The graphics card to hand through: 0000:01:00.", metavar="PCI", show_default=False
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="A label of its node; may be repeated.", metavar="KEY=VALUE", show_default=False),
    ] = None,
    taint: Annotated[
        list[str] | None,
        typer.Option(
            help="A taint of its node; may be repeated.", metavar="KEY=VALUE:EFFECT", show_default=False
        ),
    ] = None,
    spec: Annotated[
        list[str] | None,
        typer.Option(
            help="A fact about its hardware; may be repeated.", metavar="KEY=VALUE", show_default=False
        ),
    ] = None,
    locked: Annotated[bool, typer.Option("--locked", help="Never install it.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of one with this MAC.")
    ] = False,
) -> None:
    """Add a machine to the registry."""
    optional: dict[str, Any] = {
        "features": features,
        "ip": ip,
        "os": os,
        "cluster": cluster,
        "distribution": distribution,
        "firmware": firmware,
        "disk": disk,
        "install_method": install_method,
        "gpu_pci_address": gpu_pci_address,
        "labels": entries.pairs(label or (), "--label"),
        "taints": taint,
        "specs": entries.pairs(spec or (), "--spec"),
        "locked": locked,
    }
    entry = {"hostname": hostname, "role": role, "architecture": architecture}
    entry.update({key: value for key, value in optional.items() if value})
    seen: list[Registry] = []

    def change(registry: Registry) -> Registry:
        seen.append(registry)
        return entries.with_entry(registry, mac, entry, replace)

    registry = place(session).update(change)
    machine = registry.machines[normalise_mac(mac)]
    known = seen[-1].machines.get(machine.mac)
    done = "added" if known is None else "unchanged" if known == machine else "replaced"
    if session.json:
        print_json({"mac": machine.mac, "result": done, "machine": machine.as_dict()})
    else:
        show(f"{machine.hostname} ({machine.mac}): {done}")
    for warning in registry.warnings:
        if machine.mac in warning or mac in warning:
            note(warning)


@command(machines, "remove", registry=True)
def machines_remove(session: Session, names: SomeMachines) -> None:
    """Take machines out of the registry; what they have reported stays in the store."""
    gone: dict[str, Any] = {}

    def change(registry: Registry) -> Registry:
        gone.clear()
        for name in dict.fromkeys(names):
            machine = entries.named(registry, name)
            gone[machine.mac] = entry_of(registry, machine.mac)
            registry = registry.without_machine(machine.mac)
        return registry

    place(session).update(change)
    if session.json:
        print_json({"removed": gone})
        return
    for mac, entry in gone.items():
        show(f"{one_line(entry['hostname'])} ({mac}): removed. It was {as_json(entry, None)}")


@command(machines, "import", registry=True)
def machines_import(
    session: Session,
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSON, YAML or CSV; - is standard input.")],
    kind: _FILE_FORMAT = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Also remove the machines that the file does not have.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would do.")] = False,
) -> None:
    """Put all machines of a file into the registry, or, when anything is wrong, none.

    A machine that is there already is replaced as a whole; the others stay.
    """
    other = exchange.read(file, kind)
    tried: list[entries.Merged] = []

    def change(registry: Registry) -> Registry:
        tried.append(entries.merge(registry, other, replace))
        return tried[-1].registry

    where = place(session)
    if dry_run:
        change(where.read())
    else:
        where.update(change)
    merged = tried[-1]
    if session.json:
        told = {key: list(getattr(merged, key)) for key in ("added", "changed", "unchanged", "removed")}
        print_json({**told, "dry_run": dry_run})
        return
    parts = [
        f"{len(macs)} {word}"
        for word, macs in (
            ("added", merged.added),
            ("changed", merged.changed),
            ("unchanged", merged.unchanged),
            ("removed", merged.removed),
        )
        if macs
    ]
    show(f"{'would be: ' if dry_run else ''}{', '.join(parts) or 'nothing to do'}")
    for warning in other.warnings:
        note(warning)


@command(machines, "export", registry=True)
def machines_export(
    session: Session,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Where to; - or nothing is standard output.")
    ] = exchange.STANDARD,
    kind: _FILE_FORMAT = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write the registry's entries as JSON, YAML or CSV."""
    registry = place(session).read()
    text = exchange.write(registry, exchange.format_of(file, kind))
    if file == exchange.STANDARD:
        print(text, end="")
        return
    exchange.save(Path(file), text, force)
    if session.json:
        print_json({"file": file, "machines": len(registry)})
    else:
        show(f"{file}: {len(registry)} machine{'' if len(registry) == 1 else 's'}")


@command(machines, "approve", registry=False)
def machines_approve(session: Session, names: SomeMachines) -> None:
    """Let machines that were discovered, or that have failed, take part."""
    act(session, names, "approve")


command(machines, "install", registry=False)(machines_install)
command(machines, "reinstall", registry=False)(machines_reinstall)
command(machines, "rescue", registry=False)(machines_rescue)


@command(machines, "lock", registry=True)
def machines_lock(session: Session, names: SomeMachines) -> None:
    """Forbid that machines are installed."""
    _lock(session, names, lock=True)


@command(machines, "unlock", registry=True)
def machines_unlock(session: Session, names: SomeMachines) -> None:
    """Allow again that machines are installed."""
    _lock(session, names, lock=False)


@command(machines, "retire", registry=False)
def machines_retire(session: Session, names: SomeMachines) -> None:
    """Take machines out of service; `approve` takes them back."""
    act(session, names, "retire")


command(machines, "adopt", registry=False)(machines_adopt)
command(machines, "features", registry=False)(machines_features)
command(machines, "events", registry=False)(show_events)


def _views(session: Session) -> dict[str, View]:
    if session.registry_file:
        return {machine.mac: view_of(machine) for machine in place(session).read()}
    views: dict[str, View] = session.api.machines()
    return views


def _lock(session: Session, names: list[str], *, lock: bool) -> None:
    if not session.registry_file:
        act(session, names, "lock" if lock else "unlock")
        return
    registry = place(session).update(lambda registry: entries.locked(registry, names, lock))
    found = [entries.named(registry, name) for name in names]
    if session.json:
        print_json({machine.mac: view_of(machine) for machine in found})
        return
    for machine in found:
        show(Text(f"{machine.hostname} ({machine.mac}): {'locked' if lock else 'not locked'}"))
