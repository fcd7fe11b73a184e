# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter control_plane_endpoint_plan: the address in front of a cluster, and what is wrong with it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: control_plane_endpoint_plan
short_description: The address in front of a cluster's API servers, checked
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Says what the settings of the role P(kubestead.homelab.control_plane_endpoint#role) mean, and finds
    everything that is wrong with them. No machine is asked.
positional: _input
options:
  _input:
    description: The settings, under the role's names without C(control_plane_endpoint_).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: See what is wrong with a virtual address
  ansible.builtin.debug:
    msg: >-
      {{ ({'mode': 'haproxy', 'vip': '10.0.0.11', 'port': 8443,
           'members': {'cp-1': '10.0.0.11', 'cp-2': '10.0.0.12'}}
          | kubestead.homelab.control_plane_endpoint_plan).problems }}
"""

RETURN = r"""
_value:
  description: C(endpoint), the HOST:PORT that goes into the cluster, and C(problems), a list of sentences.
  type: dict
"""

import typing as t

from ..module_utils.endpoint_plan import plan


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filters of this file."""
        return {"control_plane_endpoint_plan": plan}
