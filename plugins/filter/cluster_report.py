# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: cluster_report
short_description: The checks of a cluster as a list with ticks
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Brings together what M(kubestead.homelab.cluster_check) found on the nodes, a line a check.
positional: _input
options:
  _input:
    description: The checks of each host, by host.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the list
  ansible.builtin.debug:
    msg: "{{ {'cp-1': checked.checks} | kubestead.homelab.cluster_report }}"
"""

RETURN = r"""
_value:
  description: The lines; they begin with V(✔), with V(!) for a warning, or with V(✘).
  type: list
  elements: str
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils.cluster_checks import report


def cluster_report(results: t.Any) -> list[str]:
    """Return the lines of the list."""
    if not isinstance(results, t.Mapping):
        raise AnsibleFilterError("cluster_report wants the checks of each host, by host")
    return report(results)


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return them by name."""
        return {"cluster_report": cluster_report}
