# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Labels and taints that a cluster's nodes are declared to have, and what has to change for it.

What we have set is written down on the node itself, in an annotation, in the same change that sets it. So
what is no longer declared can be told from what somebody else has set, which is never touched.
"""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass, field

#: Where it is written down which labels and taints are ours.
ANNOTATION = "kubestead.homelab/declared"

#: What a machine's features say of it to the scheduler.
FEATURE_LABELS: t.Mapping[str, t.Mapping[str, str]] = {
    "gpu": {"feature.node.kubernetes.io/gpu": "nvidia"},
    "storage": {"feature.node.kubernetes.io/storage": "available"},
}

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")

#: The kubelet writes these itself, and would write them again.
_KUBELETS = frozenset(
    f"{prefix}kubernetes.io/{name}" for prefix in ("", "beta.") for name in ("hostname", "os", "arch")
) - {"beta.kubernetes.io/hostname"}
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_DOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
_TAINT = re.compile(r"(?P<key>[^=:\s]+)(?:=(?P<value>[^:\s]*))?:(?P<effect>\w+)")

Taint = t.Tuple[str, str, str]


def stays(key: str) -> bool:
    """Whether a label stays, even if it was us who set it: those of Kubernetes and of graphics cards do.

    Our own labels by feature, which are in a domain of Kubernetes' too, do not stay.
    """
    domain, slash, _name = key.partition("/")
    if not slash:
        return key in ("accelerator", "gpu-type")
    if domain == "feature.node.kubernetes.io":
        return False
    return any(
        domain == ours or domain.endswith(f".{ours}") for ours in ("kubernetes.io", "k8s.io", "nvidia.com")
    )


def parse_taint(text: str) -> Taint:
    """Read KEY=VALUE:EFFECT or KEY:EFFECT; ValueError says what was wrong."""
    match = _TAINT.fullmatch(text.strip())
    if not match or match["effect"] not in EFFECTS:
        raise ValueError(f"taint {text!r}: expected KEY=VALUE:EFFECT, EFFECT one of {', '.join(EFFECTS)}")
    return match["key"], match["value"] or "", match["effect"]


def _key_problem(key: str) -> str:
    domain, slash, name = key.rpartition("/")
    if slash and not _DOMAIN.fullmatch(domain):
        return f"{key!r}: {domain!r} is not a domain in small letters"
    if not _NAME.fullmatch(name):
        return f"{key!r}: a name has up to 63 letters, digits, '-', '_' and '.', none of these at its ends"
    return f"{key!r} is the kubelet's own" if key in _KUBELETS else ""


@dataclass(frozen=True)
class Wanted:
    """What one node is declared to have."""

    labels: t.Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()


def declared(
    labels: t.Mapping[str, t.Any], taints: t.Sequence[str] = (), features: t.Iterable[str] = ()
) -> tuple[Wanted, list[str]]:
    """Bring together what a machine is declared to have; also return all that is wrong with it.

    A label that is written down counts more than the one that a feature brings.
    """
    problems, wanted = [], dict[str, str]()
    for feature in features:
        wanted.update(FEATURE_LABELS.get(feature, {}))
    for key, value in labels.items():
        text = str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)
        problem = _key_problem(key)
        if problem:
            problems.append(f"label {problem}")
        if text and not _NAME.fullmatch(text):
            problems.append(f"label {key!r}: its value {text!r} is not one that Kubernetes takes")
        wanted[key] = text
    parsed = []
    for item in taints:
        try:
            taint = parse_taint(item)
        except ValueError as error:
            problems.append(str(error))
            continue
        problem = _key_problem(taint[0])
        if problem:
            problems.append(f"taint {problem}")
        parsed.append(taint)
    return Wanted(wanted, tuple(dict.fromkeys(parsed))), problems


@dataclass
class Change:
    """What has to change on one node."""

    #: labels to set; None removes one
    labels: dict[str, str | None] = field(default_factory=dict)
    #: all taints as they are to be; None when they are right
    taints: list[dict[str, t.Any]] | None = None
    record: str | None = None
    #: ours and no longer declared, and yet left
    left: list[str] = field(default_factory=list)

    @property
    def needed(self) -> bool:
        """Whether anything has to be written."""
        return bool(self.labels) or self.taints is not None or self.record is not None

    def patch(self, version: str) -> dict[str, t.Any]:
        """Return a merge patch, for that version of the node only: nobody's change is written over."""
        metadata: dict[str, t.Any] = {"resourceVersion": version}
        if self.labels:
            metadata["labels"] = self.labels
        if self.record is not None:
            metadata["annotations"] = {ANNOTATION: self.record or None}
        body: dict[str, t.Any] = {"metadata": metadata}
        if self.taints is not None:
            body["spec"] = {"taints": self.taints}
        return body


def _recorded(node: t.Mapping[str, t.Any]) -> tuple[dict[str, str], set[Taint]]:
    text = ((node.get("metadata") or {}).get("annotations") or {}).get(ANNOTATION, "")
    try:
        found = json.loads(text) if text else {}
        labels = {str(key): str(value) for key, value in found.get("labels", {}).items()}
        return labels, {parse_taint(taint) for taint in found.get("taints", [])}
    except (ValueError, AttributeError, TypeError):
        return {}, set()  # written by somebody else: then nothing is known to be ours


def _text(taint: Taint) -> str:
    key, value, effect = taint
    return f"{key}={value}:{effect}"


def _of(item: t.Mapping[str, t.Any]) -> Taint:
    return str(item.get("key", "")), str(item.get("value") or ""), str(item.get("effect", ""))


def _plan_labels(node: t.Mapping[str, t.Any], wanted: Wanted, change: Change) -> dict[str, str]:
    """Note what has to change; return the labels that are ours then."""
    labels: dict[str, str] = dict((node.get("metadata") or {}).get("labels") or {})
    ours, _taints = _recorded(node)
    record = {}
    for key, value in wanted.labels.items():
        if labels.get(key) != value:
            change.labels[key] = value
            record[key] = value
        elif key in ours:
            record[key] = value
    for key, value in ours.items():
        if key in wanted.labels or labels.get(key) != value:
            continue  # still declared, or gone, or somebody has given it another value: it is theirs now
        if stays(key):
            change.left.append(key)
        else:
            change.labels[key] = None
    return record


def _plan_taints(node: t.Mapping[str, t.Any], wanted: Wanted, change: Change) -> list[str]:
    """Note what has to change; return the taints that are ours then."""
    there = [item for item in (node.get("spec") or {}).get("taints") or [] if isinstance(item, dict)]
    _labels, ours = _recorded(node)
    places = {(key, effect) for key, _value, effect in wanted.taints}
    foreign = [
        item
        for item in there
        if _of(item) not in ours and (item.get("key"), item.get("effect")) not in places
    ]
    kept = [item for item in there if item in foreign or _of(item) in wanted.taints]
    new = [taint for taint in wanted.taints if taint not in {_of(item) for item in kept}]
    kept += [
        {"key": key, "effect": effect, **({"value": value} if value else {})} for key, value, effect in new
    ]
    if kept != there:
        change.taints = kept
    return sorted(_text(taint) for taint in wanted.taints if taint in new or taint in ours)


def plan(node: t.Mapping[str, t.Any], wanted: Wanted) -> Change:
    """Say what has to change on a node, a Node object of the API."""
    change = Change()
    labels = _plan_labels(node, wanted, change)
    taints = _plan_taints(node, wanted, change)
    content = {
        **({"labels": dict(sorted(labels.items()))} if labels else {}),
        **({"taints": taints} if taints else {}),
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":")) if content else ""
    before = ((node.get("metadata") or {}).get("annotations") or {}).get(ANNOTATION, "")
    if text != before:
        change.record = text
    return change


def lines(name: str, change: Change) -> list[str]:
    """Say what changes on a node."""
    told = [f"{name}: {key}={value}" for key, value in change.labels.items() if value is not None]
    told += [f"{name}: {key} goes" for key, value in change.labels.items() if value is None]
    if change.taints is not None:
        told.append(f"{name}: taints {', '.join(_text(_of(item)) for item in change.taints) or 'none'}")
    return told
