# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: diagnosis_report
short_description: What is likely wrong on which machine, as a list
version_added: 0.3.0
author: Kubestead contributors (@kubestead)
description:
  - Brings together what M(kubestead.homelab.diagnostics) found on the machines; those in trouble come first.
positional: _input
options:
  _input:
    description: The result of each host, by host.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show what is wrong
  ansible.builtin.debug:
    msg: "{{ {'cp-1': diagnostics_result} | kubestead.homelab.diagnosis_report }}"
"""

RETURN = r"""
_value:
  description: The lines; they begin with V(✘), with V(!) for what has no name yet, or with V(✔).
  type: list
  elements: str
"""

import typing as t

from ansible.errors import AnsibleFilterError

_ORDER = {"✘": 0, "!": 1, "✔": 2}


def _lines(host: str, result: t.Any) -> list[str]:
    if not isinstance(result, t.Mapping) or result.get("unreachable") or result.get("skipped"):
        said = str(result.get("msg", "")) if isinstance(result, t.Mapping) else ""
        return [
            f"✘ {host}: it could not be reached{': ' + said if said else ''}",
            "  → switch it on, see its network",
        ]
    if result.get("failed"):
        return [f"✘ {host}: it could not be looked at: {result.get('msg')}"]
    more = [f"    more: {result['archive']}"] if result.get("archive") else []
    return [*(str(line) for line in result.get("lines") or []), *more]


def diagnosis_report(results: t.Any) -> list[str]:
    """Return the list that a person reads."""
    if not isinstance(results, t.Mapping):
        raise AnsibleFilterError("diagnosis_report wants the result of each host, by host")
    told = [_lines(str(host), result) for host, result in results.items()]
    told.sort(key=lambda lines: _ORDER.get(lines[0][:1], 0) if lines else 0)
    return [line for lines in told for line in lines]


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return them by name."""
        return {"diagnosis_report": diagnosis_report}
