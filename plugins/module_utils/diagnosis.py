# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Name the likely cause of what is wrong on a node, and what to do about it, from what was collected there.

What is true now (`Facts`) counts more than what a log says, since a log also tells of troubles that are over.
So a text is only believed where something is wrong now, or where it is the failed task's own message.
"""

from __future__ import annotations

import fnmatch
import re
import typing as t
from dataclasses import asdict, dataclass, field

#: The section with the message of the task that failed.
FAILURE = "failure"

EVIDENCE_LIMIT = 300
_NAMES = re.compile(r"\{(\w+)\}")


@dataclass
class Runtime:
    """The container runtime as it is asked by the kubelet."""

    unit: str = "containerd.service"
    socket: str = "/var/run/containerd/containerd.sock"
    installed: bool = True
    active: str = "active"
    answers: bool = True
    problem: str = ""
    #: whether it makes cgroups by systemd; None where that is not known
    systemd_cgroup: bool | None = None


@dataclass
class Process:
    """A process, and for how many seconds it has been running."""

    pid: int
    seconds: float
    command: str


@dataclass
class Disk:
    """A file system and how full it is, in percent."""

    mount: str
    used: float
    inodes: float = 0.0


@dataclass
class Lifetime:
    """From when to when a certificate is valid, in days from now; a beginning above 0 is in the future."""

    path: str
    begins: float
    ends: float


@dataclass
class Facts:
    """What is true on a node now. The defaults are those of a node that is well."""

    host: str = "this machine"
    #: as `kubestead.homelab.kubeadm_facts` says
    node: dict[str, t.Any] = field(default_factory=dict)
    runtime: Runtime = field(default_factory=Runtime)
    kubelet_restarts: int = 0
    #: cgroupDriver of the kubelet's configuration
    kubelet_cgroup_driver: str = ""
    #: whether admin.conf may do everything; None where there is none, or where the API does not answer
    admin_allowed: bool | None = None
    admin_organisations: list[str] = field(default_factory=list)
    kubeadm: list[Process] = field(default_factory=list)
    #: who listens, by port
    listeners: dict[int, str] = field(default_factory=dict)
    disks: list[Disk] = field(default_factory=list)
    #: seconds that this machine's clock is ahead of the controller's, and of the API server's
    ahead_of_controller: float | None = None
    ahead_of_api: float | None = None
    #: MTU by link, and the link that leads out
    mtus: dict[str, int] = field(default_factory=dict)
    uplink: str = ""
    certificates: list[Lifetime] = field(default_factory=list)
    #: why the cluster's DNS does not answer from here; empty when it does, None where it was not asked
    dns_problem: str | None = None
    #: why the API's address that the kubelet uses cannot be reached; None where it was not asked
    endpoint_problem: str | None = None
    swap: list[str] = field(default_factory=list)
    #: containers of the cluster that have ended and not come back, by name
    dead_containers: list[str] = field(default_factory=list)
    #: what the API says of this node: conditions that are not as they should be, with their words
    conditions: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """What the node is: none, control_plane, worker or partial."""
        return str(self.node.get("state", "none"))

    @property
    def kubelet(self) -> t.Mapping[str, t.Any]:
        """The kubelet's service."""
        found = self.node.get("kubelet")
        return found if isinstance(found, dict) else {}

    @property
    def kubelet_active(self) -> str:
        """The state of its unit, as systemd says."""
        return str(self.kubelet.get("active", "inactive"))

    @property
    def kubelet_healthy(self) -> bool:
        """Whether it says so."""
        return bool(self.kubelet.get("healthy"))

    @property
    def api_ready(self) -> bool:
        """Whether the API server of this node is ready."""
        statuses = self.node.get("api")
        return isinstance(statuses, dict) and statuses.get("readyz") == 200

    @property
    def in_trouble(self) -> bool:
        """Whether anything is not as it should be now."""
        joined = self.state in ("control_plane", "worker")
        return bool(
            self.state == "partial"
            or (joined and not self.kubelet_healthy)
            or (self.state == "control_plane" and not self.api_ready)
            or (self.runtime.installed and not self.runtime.answers)
            or self.conditions
            or self.dead_containers
            or self.dns_problem
            or self.endpoint_problem
            or (joined and self.node.get("member") is False)
        )


@dataclass(frozen=True)
class Finding:
    """A likely cause: which it is, in a sentence, what to do, and what shows it."""

    name: str
    cause: str
    remedy: str
    evidence: str = ""
    section: str = ""
    weight: int = 0

    def as_dict(self) -> dict[str, t.Any]:
        """Return plain data."""
        return asdict(self)


#: Is it still so? A log line is not believed where the facts say that it is over.
Still = t.Callable[[Facts], bool]


@dataclass(frozen=True)
class Pattern:
    """A known trouble by the words that a program has for it.

    cause and remedy may have names of groups of the expression in braces. `sections` are patterns of names of
    texts, the failed task's message always among them.
    """

    name: str
    weight: int
    expression: re.Pattern[str]
    cause: str
    remedy: str
    sections: tuple[str, ...] = ("kubeadm*", "journal-kubelet")
    still: Still | None = None

    def find(self, facts: Facts, texts: t.Mapping[str, str]) -> Finding | None:
        """Look for it, in the failed task's message first, and for its last mention."""
        for name in sorted(texts, key=lambda section: section != FAILURE):
            if name != FAILURE:
                if not facts.in_trouble and FAILURE not in texts:
                    continue
                if not any(fnmatch.fnmatch(name, wanted) for wanted in self.sections):
                    continue
                if self.still is not None and not self.still(facts):
                    continue
            mentions = list(self.expression.finditer(texts[name]))
            if mentions:
                return self._finding(facts, name, texts[name], mentions[-1])
        return None

    def _finding(self, facts: Facts, section: str, text: str, match: re.Match[str]) -> Finding:
        words = {key: value or "" for key, value in match.groupdict().items()}
        words["host"] = facts.host

        def fill(sentence: str) -> str:
            return _NAMES.sub(lambda name: words.get(name.group(1), name.group(0)), sentence)

        return Finding(
            name=self.name,
            cause=fill(self.cause),
            remedy=fill(self.remedy),
            evidence=_line(text, match.start()),
            section=section,
            weight=self.weight + (5 if section == FAILURE else 0),
        )


Fact = t.Callable[[Facts], "Finding | None"]


def _line(text: str, at: int) -> str:
    begin = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at)
    line = text[begin : end if end >= 0 else len(text)].strip()
    if len(line) <= EVIDENCE_LIMIT:
        return line
    cut = max(0, min(at - begin - 60, len(line) - EVIDENCE_LIMIT))
    return ("…" if cut else "") + line[cut : cut + EVIDENCE_LIMIT] + "…"


def diagnose(
    facts: Facts,
    texts: t.Mapping[str, str],
    known_facts: t.Sequence[Fact],
    patterns: t.Sequence[Pattern],
) -> list[Finding]:
    """Return what is likely wrong, the likeliest first; each cause once."""
    found = [finding for finding in (fact(facts) for fact in known_facts) if finding]
    found += [finding for finding in (pattern.find(facts, texts) for pattern in patterns) if finding]
    by_name: dict[str, Finding] = {}
    for finding in sorted(found, key=lambda one: -one.weight):
        by_name.setdefault(finding.name, finding)
    return list(by_name.values())


def sentence(finding: t.Mapping[str, t.Any]) -> str:
    """Return a finding as the failed task's message has it."""
    return f"Likely cause: {finding['cause']} What to do: {finding['remedy']}"


def lines(host: str, findings: t.Sequence[Finding], facts: Facts) -> list[str]:
    """Return what a person reads of one machine."""
    if not findings:
        state = {"none": "not part of a cluster", "control_plane": "control plane"}
        what = state.get(facts.state, facts.state)
        if facts.in_trouble:
            return [f"! {host} ({what}): something is wrong here that has no name yet: read the archive"]
        return [f"✔ {host} ({what}): nothing is wrong as far as this machine can tell"]
    told = [f"✘ {host}: {findings[0].cause}", f"  → {findings[0].remedy}"]
    if findings[0].evidence:
        told.append(f"    {findings[0].section}: {findings[0].evidence}".replace("    : ", "    "))
    for finding in findings[1:]:
        told += [f"  also: {finding.cause}", f"  → {finding.remedy}"]
    return told
