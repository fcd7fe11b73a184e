# SPDX-License-Identifier: GPL-3.0-or-later
"""`kubestead machines features`: what a machine's hardware speaks for, and taking that over."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from kubestead.exit_codes import ExitCode
from kubestead.model.entry_change import entry_of
from kubestead.model.hardware import KEY, Proposal, proposals, summary
from kubestead.model.registry import Registry

from . import completion
from .errors import CliError
from .names import find
from .options import SomeMachine
from .output import note, one_line, print_json, show
from .places import place
from .session import Session
from .views import View, called, titled


def machines_features(
    session: Session,
    machine: SomeMachine,
    wanted: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FEATURE",
            help="Which of those that are proposed; without one, all.",
            autocompletion=completion.features,
            show_default=False,
        ),
    ] = None,
    *,
    accept: Annotated[bool, typer.Option("--accept", help="Write them into the registry.")] = False,
) -> None:
    """Show which features a machine's hardware proposes: a graphics card `gpu`, an unused disk `storage`."""
    views = session.api.machines()
    mac = find(views, machine)
    hardware = hardware_of(session, mac)
    if hardware is None:
        raise CliError(
            f"{titled(views[mac])} has not reported its hardware",
            "Its first-boot agent does: `kubestead-agent status` on the machine says how far it is.",
        )
    proposed = _chosen(proposals(hardware, views[mac]["features"]), wanted, views[mac])
    accepted = [each.feature for each in proposed] if accept else []
    if accepted:
        _accept(session, mac, accepted)
    if session.json:
        told = [{"feature": each.feature, "reason": each.reason} for each in proposed]
        print_json({"mac": mac, "features": views[mac]["features"], "proposed": told, "accepted": accepted})
        return
    show(f"{titled(views[mac])}: {', '.join(views[mac]['features']) or 'no features'}")
    show(f"hardware: {one_line(summary(hardware))}")
    for each in proposed:
        show(f"{'accepted' if accepted else 'proposed'}: {each.feature}, for {one_line(each.reason)}")
    if not proposed:
        show("Its hardware proposes nothing more.")
    elif not accept:
        note(f"`kubestead machines features {called(views[mac])} --accept` writes that into the registry.")


def hardware_of(session: Session, mac: str) -> Any:
    """What the machine has reported of its hardware; None where that is nothing."""
    kept = session.api.data_or_none(mac, KEY)
    return kept and kept["value"]


def hardware_facts(hardware: Any, view: View) -> list[tuple[str, str]]:
    """The lines about it among all that is known of a machine."""
    facts = [("hardware", one_line(summary(hardware)))] if summary(hardware) else []
    for each in proposals(hardware, view["features"]):
        facts.append((f"could be {each.feature}", one_line(each.reason)))
    return facts


def _chosen(proposed: list[Proposal], wanted: list[str] | None, view: View) -> list[Proposal]:
    if not wanted:
        return proposed
    there = {each.feature: each for each in proposed}
    unknown = [name for name in wanted if name not in there and name not in view["features"]]
    if unknown:
        raise CliError(
            f"the hardware of {titled(view)} does not propose {', '.join(map(one_line, unknown))}",
            f"It proposes {', '.join(there) or 'nothing'}. Others are written into its registry entry.",
            ExitCode.WRONG_INPUT,
        )
    return [there[name] for name in dict.fromkeys(wanted) if name in there]


def _accept(session: Session, mac: str, features: list[str]) -> None:
    def change(registry: Registry) -> Registry:
        entry = entry_of(registry, mac)
        if entry is None:
            raise CliError(
                f"{mac} is not in the registry",
                f"Add it: kubestead machines add {mac} HOSTNAME ROLE ARCH {' '.join(features)}",
            )
        there = list(entry.get("features") or ())
        entry["features"] = there + [name for name in features if name not in there]
        return registry.with_machine(mac, entry)

    place(session).update(change)
