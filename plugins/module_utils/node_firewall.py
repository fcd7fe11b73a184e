# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing a node's own rules into force, in such a way that nobody can lock themselves out.

New rules are loaded by a unit that is not enabled yet, and a timer takes them away again. Only whoever comes
in by a new connection afterwards stops that timer and enables the unit.
"""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

from . import firewall_rules as rules_
from .converging import Converging
from .firewalls import UNIT, UNIT_FILE
from .host import read_text
from .programs import Runner

FOLDER = "/etc/kubestead"
UNDO = "kubestead-firewall-undo"
FIREWALLD_SERVICE = Path("/etc/firewalld/services/kubestead-node.xml")


class FirewallError(Exception):
    """What could not be done, in words."""


class Firewall:
    """The rules of one machine."""

    def __init__(self, to: Converging, run: Runner, undo_after: int) -> None:
        """undo_after: seconds after which unconfirmed rules are taken away again."""
        self.to, self.run, self.undo_after = to, run, undo_after
        self.armed = False

    def _do(self, *words: str) -> str:
        code, out, err = self.run(words, None, 90)
        if code != 0:
            raise FirewallError(f"{' '.join(words)}: {(err or out).strip() or f'it ended with {code}'}")
        return out

    def _is(self, question: str) -> bool:
        return self.run(["systemctl", question, "--quiet", UNIT])[0] == 0

    # --- rules of our own: nftables and iptables

    def _live(self, backend: str, marks: t.Mapping[str, str]) -> bool:
        """Whether the rules that the files say are in the kernel."""
        if backend == "nftables":
            return marks["nft"] in self.run(["nft", "list", "table", "inet", rules_.TABLE])[1]
        for program, name in (("iptables", "v4"), ("ip6tables", "v6")):
            if self.run([program, "-w", "-C", "INPUT", "-j", rules_.CHAIN])[0] != 0:
                return False
            if marks[name] not in self.run([program, "-w", "-S", rules_.CHAIN])[1]:
                return False
        return True

    def _check(self, backend: str, texts: t.Mapping[str, str]) -> None:
        checks = {"nft": ["nft", "-c", "-f", "-"]}
        for program, name in (("iptables", "v4"), ("ip6tables", "v6")):
            checks[name] = [f"{program}-restore", "-w", "--test", "--noflush"]
        for name, text in texts.items():
            code, out, err = self.run(checks[name], text, 60)
            if code == 127 and self.to.module.check_mode:
                continue  # the program comes with a package that is not installed yet
            if code != 0:
                raise FirewallError(
                    f"{backend} refuses the rules: {(err or out).strip() or code}. Nothing was changed."
                )

    def own(self, backend: str, rules: rules_.Rules) -> None:
        """Load the rules by a unit of our own; armed when they are new."""
        if backend == "nftables":
            made = {"nft": rules_.nft_text(rules)}
        else:
            made = {"v4": rules_.iptables_text(rules, False), "v6": rules_.iptables_text(rules, True)}
        texts = {name: text for name, (text, _mark) in made.items()}
        marks = {name: mark for name, (_text, mark) in made.items()}
        self.firewalld_gone()
        before = len(self.to.changes)
        files = {Path(f"{FOLDER}/node-firewall.{name}"): text for name, text in texts.items()}
        if any(read_text(path) != text for path, text in files.items()):
            self._check(backend, texts)
        for path in (Path(f"{FOLDER}/node-firewall.{name}") for name in ("nft", "v4", "v6")):
            if path in files:
                self.to.file(path, files[path], 0o600)
            else:
                self.to.no_file(path)
        self.to.file(Path("/") / UNIT_FILE, rules_.unit_text(backend, FOLDER))
        written = len(self.to.changes) > before
        in_force = self._is("is-active") and self._live(backend, marks)
        if not written and in_force and self._is("is-enabled"):
            return
        if not written:
            self.to.note(UNIT, "not in force\n", "in force, and at boot\n")
        if not self.to.module.check_mode:
            self._do("systemctl", "daemon-reload")
            self.run(["systemctl", "disable", "--quiet", UNIT])
            self._arm(["systemctl", "stop", UNIT])
            self._do("systemctl", "restart", UNIT)
            if not self._live(backend, marks):
                raise FirewallError(
                    f"The rules were loaded, and {backend} does not show them. See journalctl -u {UNIT}."
                )

    def _arm(self, command: t.Sequence[str]) -> None:
        """Have the command run by itself unless somebody confirms."""
        self.run(["systemctl", "stop", f"{UNDO}.timer"])
        self.run(["systemctl", "reset-failed", f"{UNDO}.service"])
        timing = [f"--on-active={self.undo_after}", "--timer-property=AccuracySec=1s"]
        self._do("systemd-run", "--quiet", f"--unit={UNDO}", *timing, *command)
        self.armed = True

    def confirm(self, backend: str) -> None:
        """Whoever says this came in by a connection that the new rules let through: they stay."""
        if backend == "firewalld":
            alive = self.run(["firewall-cmd", "--state"])[0] == 0
        else:
            alive = self._is("is-active")
        if not alive:
            raise FirewallError(
                f"The new rules were taken away again after {self.undo_after} seconds, before "
                "anybody had come in by a new connection. Nothing is filtered now. Is SSH reached on another "
                "port than those that are open? Name it in os_prep_firewall_ssh_ports."
            )
        unit = "firewalld.service" if backend == "firewalld" else UNIT
        self._do("systemctl", "enable", "--quiet", unit)
        self.run(["systemctl", "stop", f"{UNDO}.timer"])

    def own_gone(self) -> None:
        """Take our own unit and its rules away, where they are."""
        if (Path("/") / UNIT_FILE).exists():
            if not self.to.module.check_mode:
                self._do("systemctl", "disable", "--now", "--quiet", UNIT)
            self.to.no_file(Path("/") / UNIT_FILE)
            if not self.to.module.check_mode:
                self._do("systemctl", "daemon-reload")
        for name in ("nft", "v4", "v6"):
            self.to.no_file(Path(f"{FOLDER}/node-firewall.{name}"))

    # --- firewalld

    def _zone(self, wanted: str) -> str:
        """The zone of the link by which the machine reaches others, else the default one."""
        if wanted:
            return wanted
        route = self.run(["ip", "-o", "route", "get", "192.0.2.1"])[1]
        link = re.search(r" dev (\S+)", route)
        if link:
            code, out, _err = self.run(["firewall-cmd", f"--get-zone-of-interface={link.group(1)}"])
            if code == 0 and out.strip():
                return out.strip()
        return self._do("firewall-cmd", "--get-default-zone").strip()

    def firewalld(self, rules: rules_.Rules, zone: str) -> None:
        """Open the ports by a service of our own, and let pods through. What is open already stays so."""
        self.own_gone()
        runs = self.run(["firewall-cmd", "--state"])[0] == 0
        before = len(self.to.changes)
        self.to.file(FIREWALLD_SERVICE, rules_.firewalld_text(rules))
        text_is_new = len(self.to.changes) > before
        if not runs:
            self._start_firewalld(rules, zone)
            return
        zone = self._zone(zone)
        has = self._listed(zone, "services"), self._listed("trusted", "sources")
        lacks = [] if rules_.SERVICE in has[0] else [f"--zone={zone}", f"--add-service={rules_.SERVICE}"]
        sources = [network for network in rules.trusted if network not in has[1]]
        if lacks:
            self.to.note(f"firewalld, zone {zone}", "", f"service {rules_.SERVICE}\n")
        if sources:
            self.to.note("firewalld, zone trusted", "", "".join(f"source {network}\n" for network in sources))
        if self.to.module.check_mode or not (text_is_new or lacks or sources):
            return
        self._do("firewall-cmd", "--quiet", "--reload")
        if lacks:
            self._do("firewall-cmd", "--quiet", "--permanent", *lacks)
        if sources:
            self._do(
                "firewall-cmd",
                "--quiet",
                "--permanent",
                "--zone=trusted",
                *(f"--add-source={s}" for s in sources),
            )
        self._do("firewall-cmd", "--quiet", "--reload")
        if rules_.SERVICE not in self._listed(zone, "services"):
            raise FirewallError(
                f"firewalld does not show service {rules_.SERVICE} in zone {zone} after its reload."
            )

    def _listed(self, zone: str, what: str) -> list[str]:
        return self._do("firewall-cmd", f"--zone={zone}", f"--list-{what}").split()

    def _start_firewalld(self, rules: rules_.Rules, zone: str) -> None:
        """Start it with our service in place; stopped again by itself unless that is confirmed."""
        self.to.note("firewalld.service", "not active\n", "active, and at boot\n")
        if self.to.module.check_mode:
            return
        offline = ["firewall-offline-cmd"]
        zone = zone or self._do(*offline, "--get-default-zone").strip()
        services = self._do(*offline, f"--zone={zone}", "--list-services").split()
        if rules_.SERVICE not in services:
            self._do(*offline, f"--zone={zone}", f"--add-service={rules_.SERVICE}")
        known = self._do(*offline, "--zone=trusted", "--list-sources").split()
        for network in rules.trusted:
            if network not in known:
                self._do(*offline, "--zone=trusted", f"--add-source={network}")
        self.run(["systemctl", "disable", "--quiet", "firewalld.service"])
        self._arm(["systemctl", "stop", "firewalld.service"])
        self._do("systemctl", "start", "firewalld.service")

    def firewalld_gone(self) -> None:
        """Take our service out of firewalld, where it is; firewalld itself stays as it is."""
        if not FIREWALLD_SERVICE.exists():
            return
        runs = self.run(["firewall-cmd", "--state"])[0] == 0
        if not self.to.module.check_mode:
            program = ["firewall-cmd", "--quiet", "--permanent"] if runs else ["firewall-offline-cmd"]
            zones = Path("/etc/firewalld/zones").glob("*.xml")
            for zone in sorted(
                path.stem for path in zones if f'"{rules_.SERVICE}"' in (read_text(path) or "")
            ):
                self._do(*program, f"--zone={zone}", f"--remove-service={rules_.SERVICE}")
        self.to.no_file(FIREWALLD_SERVICE)
        if runs and not self.to.module.check_mode:
            self._do("firewall-cmd", "--quiet", "--reload")
