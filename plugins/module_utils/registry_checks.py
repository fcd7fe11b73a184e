# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Checks of a whole registry: every machine, and what no two machines may share. All problems at once."""

from __future__ import annotations

import difflib
import typing as t

from .mac import EXPECTED, is_group_address, normalise_mac
from .machine import (
    CLUSTER_ROLES,
    CONTROL_PLANE,
    DEFAULT_CLUSTER,
    DEFAULT_DISTRIBUTION,
    DISTRIBUTION_BY_OS,
    KEYS,
    REQUIRED_KEYS,
    Machine,
)
from .machine_checks import CHECKS, WrongValueError, is_secret
from .problems import Problem, RegistryError, printable
from .registry_file import Document

SCHEMA_KEY = "$schema"  # names the JSON Schema to an editor; no machine
_OPTIONAL = frozenset(KEYS) - frozenset(REQUIRED_KEYS)
_REQUIRED_EXPECTATIONS = {
    "hostname": "a host name",
    "role": "control-plane, worker or compute",
    "architecture": "amd64 or arm64",
}

Values = t.Dict[str, t.Any]


class Checked(t.NamedTuple):
    """A registry that has passed: machines by MAC, the MACs as the file writes them, and remarks."""

    machines: t.Dict[str, Machine]
    written: t.Dict[str, str]
    warnings: t.Tuple[str, ...]


class _Entry(t.NamedTuple):
    mac: str
    written: str
    values: Values


class _Checker:
    def __init__(self, source: str) -> None:
        self.source = source
        self.problems: t.List[Problem] = []
        self.warnings: t.List[str] = []
        self.unknown: t.Dict[str, t.List[str]] = {}
        self.mac = ""
        self.key = ""

    def note(self, text: str) -> None:
        """Remark on the value that is being checked."""
        self.warnings.append(f"{self.source}: {self.mac}: {self.key} {text}")

    def problem(
        self, mac: t.Optional[str], key: t.Optional[str], value: t.Any, expectation: str, found: str = ""
    ) -> None:
        self.problems.append(Problem(self.source, mac, key, value, expectation, found))

    def machine(self, mac: str, raw: t.Any) -> t.Optional[Values]:
        if not isinstance(raw, dict):
            self.problem(mac, None, raw, "an object that describes the machine")
            return None
        values: Values = {}
        extra: Values = {}
        self.mac = mac
        for key, value in raw.items():
            self.key = key
            check = CHECKS.get(key)
            if check is None:
                extra[key] = value
                self.unknown.setdefault(key, []).append(mac)
            elif value is not None or key not in _OPTIONAL:
                try:
                    values[key] = check(value, self.note)
                except WrongValueError as wrong:
                    below = f"{key}.{wrong.key}" if wrong.key else key
                    self.problem(
                        mac, below, wrong.value if wrong.key else value, wrong.expectation, wrong.found
                    )
        for key in REQUIRED_KEYS:
            if key not in raw:
                self.problem(mac, key, None, _REQUIRED_EXPECTATIONS[key], "is missing")
        if extra:
            values["extra"] = extra
        return values

    def unique(self, entries: t.Sequence[_Entry], key: str) -> None:
        owners: t.Dict[t.Any, _Entry] = {}
        for entry in entries:
            value = entry.values.get(key)
            if value is None:
                continue
            owner = owners.setdefault(value, entry)
            if owner.mac != entry.mac:
                self.problem(entry.written, key, value, f"one of its own: {owner.written} has the same")

    def distributions(self, entries: t.Sequence[_Entry]) -> None:
        """Give every machine the distribution of its cluster; a cluster has one."""
        named: t.Dict[str, t.Tuple[str, str]] = {}
        systems: t.Dict[str, t.Set[t.Optional[str]]] = {}
        for entry in entries:
            values = entry.values
            if values.get("role") not in CLUSTER_ROLES:
                continue
            cluster = values.get("cluster", DEFAULT_CLUSTER)
            if values.get("role") == CONTROL_PLANE:
                systems.setdefault(cluster, set()).add(values.get("os"))
            own = values.get("distribution")
            if own is None:
                continue
            distribution, owner = named.setdefault(cluster, (own, entry.written))
            if distribution != own:
                self.problem(
                    entry.written,
                    "distribution",
                    own,
                    f"one distribution in the cluster {cluster}: {owner} has {distribution} "
                    "(give one of the machines another `cluster`)",
                )
        defaults = {
            cluster: DISTRIBUTION_BY_OS.get(next(iter(found)) or "", DEFAULT_DISTRIBUTION)
            for cluster, found in systems.items()
            if len(found) == 1
        }
        for entry in entries:
            values = entry.values
            if "distribution" not in values:
                cluster = values.get("cluster", DEFAULT_CLUSTER)
                values["distribution"] = (
                    named[cluster][0] if cluster in named else defaults.get(cluster, DEFAULT_DISTRIBUTION)
                )

    def remark_unknown_keys(self) -> None:
        for key, macs in self.unknown.items():
            near = difflib.get_close_matches(key, KEYS, n=1, cutoff=0.75)
            hint = f" (did you mean {near[0]}?)" if near else ""
            secret = " A registry is no place for secrets." if is_secret(key) else ""
            more = f" and {len(macs) - 1} more" if len(macs) > 1 else ""
            self.warnings.append(
                printable(
                    f"{self.source}: {macs[0]}{more}: the key {key} is not known{hint}; it is kept.{secret}"
                )
            )


def check(document: Document, source: str) -> Checked:
    """Check a document; raise RegistryError with all problems, or return its machines."""
    checker = _Checker(source)
    entries: t.List[_Entry] = []
    written: t.Dict[str, str] = {}
    for key, raw in document.pairs:
        if key == SCHEMA_KEY:
            if not isinstance(raw, str):
                checker.problem(None, key, raw, "where the schema is, as text")
            continue
        try:
            mac = normalise_mac(key)
            if key != key.strip():
                raise ValueError
        except ValueError:
            checker.problem(key, None, key, EXPECTED, "is no MAC address")
            mac = key
        else:
            if mac in ("00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"):
                checker.problem(key, None, key, "the MAC of a network card", "is no machine's MAC address")
            elif is_group_address(mac):
                checker.warnings.append(f"{source}: {key}: is a multicast address, which no network card has")
        if mac in written:
            other = "" if written[mac] == key else f", and as {written[mac]}"
            checker.problem(key, None, key, "each machine once", f"is there twice{other}")
        values = checker.machine(key, raw)
        if values is not None:
            entries.append(_Entry(mac, key, values))
        written.setdefault(mac, key)
    for path in document.repeated:
        checker.problem(path[0], ".".join(path[1:]), None, "each key once", "is there twice")
    checker.unique(entries, "hostname")
    checker.unique(entries, "ip")
    checker.distributions(entries)
    if checker.problems:
        raise RegistryError(checker.problems)
    checker.remark_unknown_keys()
    machines = {entry.mac: Machine(mac=entry.mac, **entry.values) for entry in entries}
    return Checked(machines, written, tuple(checker.warnings))
