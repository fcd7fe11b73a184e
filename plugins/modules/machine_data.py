#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: machine_data
short_description: Keep a value of a machine in the State API
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Keeps a value of a machine under a key, in the place of the one that is there. It is sent only when it
    differs.
  - Values stay, there is no way to remove one. The lookup of the same name reads them.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.changes
  - kubestead.homelab.state_api
  - kubestead.homelab.state_api.module
options:
  machine:
    description: The machine, by MAC address in any notation, or by host name.
    type: str
    required: true
  key:
    description: The name of the value, of letters, digits, dots, underscores and hyphens.
    type: str
    required: true
  value:
    description:
      - The value, anything that JSON can say, up to 256 KiB.
      - It is shown in differences. For a secret, give the task C(no_log=true).
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: Keep what the burn-in found
  kubestead.homelab.machine_data:
    machine: "{{ machine_mac }}"
    key: burn-in
    value:
      memory: ok
      hours: 12
  delegate_to: localhost
"""

RETURN = r"""
mac:
  description: The MAC address of the machine.
  returned: success
  type: str
  sample: 52:54:00:77:00:23
updated_at:
  description: When the value was written; in check mode when it was written last.
  returned: when it has been written
  type: str
  sample: "2026-11-21T15:57:35.123Z"
"""

import json
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils.mac import is_mac, normalise_mac
from ansible_collections.kubestead.homelab.plugins.module_utils.state_api_machines import find_mac
from ansible_collections.kubestead.homelab.plugins.module_utils.state_api_module import connected, with_api


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON; for Python, true would be 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def main() -> None:
    """Compare, write, tell."""
    module = AnsibleModule(
        argument_spec=with_api(
            machine={"type": "str", "required": True},
            key={"type": "str", "required": True, "no_log": False},
            value={"type": "raw", "required": True},
        ),
        supports_check_mode=True,
    )
    name, key, value = (module.params[option] for option in ("machine", "key", "value"))
    with connected(module) as client:
        mac = normalise_mac(name) if is_mac(name) else find_mac(client.machines(), name)
        before = client.data_or_none(mac, key)
        changed = before is None or not same(before["value"], value)
        written = client.put_data(mac, key, value) if changed and not module.check_mode else before
    result: dict[str, Any] = {"changed": changed, "mac": mac}
    if written is not None:
        result["updated_at"] = written["updated_at"]
    if module._diff and changed:
        result["diff"] = {
            "before_header": f"{mac}: {key}",
            "after_header": f"{mac}: {key}",
            "before": "" if before is None else json.dumps(before["value"], indent=2) + "\n",
            "after": json.dumps(value, indent=2) + "\n",
        }
    module.exit_json(**result)


if __name__ == "__main__":
    main()
