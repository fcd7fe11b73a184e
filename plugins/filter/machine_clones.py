# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter machine_clones: machines that are taken for one."""

from __future__ import annotations

DOCUMENTATION = r"""
name: machine_clones
short_description: Machines that are taken for one
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Says which machines have the same machine-id or product UUID, and what to do about it.
  - Product UUIDs that makers of boards write on all of them tell nothing, and do not count.
positional: _input
options:
  _input:
    description: What M(kubestead.homelab.machine_preflight) has told of each machine, by its name.
    type: dict
    required: true
  keys:
    description: What is compared, of V(machine_id) and V(product_uuid).
    type: list
    elements: str
    default: [machine_id, product_uuid]
"""

EXAMPLES = r"""
- name: No two machines are clones
  ansible.builtin.assert:
    that: seen | kubestead.homelab.machine_clones | length == 0
  vars:
    seen: {node-1: {machine_id: "0123"}, node-2: {machine_id: "4567"}}
"""

RETURN = r"""
_value:
  description: One sentence for each value that several machines have.
  type: list
  elements: str
"""

import typing as t

from ansible_collections.kubestead.homelab.plugins.module_utils.identity import clones

REMEDIES = {
    "machine_id": (
        "they are clones of one image, and Kubernetes and DHCP would take them for one. On all but one of "
        "them: rm /etc/machine-id && systemd-machine-id-setup && reboot."
    ),
    "product_uuid": (
        "virtual machines that were copied, or boards whose maker gave all of them one number. Give the copy "
        "a UUID of its own (Proxmox: qm set ID --smbios1 uuid=$(uuidgen)); where it cannot be changed, set "
        "preflight_check_product_uuid: false."
    ),
}


def machine_clones(
    machines: t.Mapping[str, t.Mapping[str, t.Any]], keys: t.Sequence[str] = ("machine_id", "product_uuid")
) -> list[str]:
    """Sentences about machines with the same value."""
    return [
        f"{', '.join(names)} share the {key.replace('_', '-')} {value}: {REMEDIES[key]}"
        for key in keys
        for value, names in clones(machines, key)
    ]


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filters of this file."""
        return {"machine_clones": machine_clones}
