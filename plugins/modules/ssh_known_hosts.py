#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ssh_known_hosts
short_description: Have ssh know machines by the host keys that they have reported
version_added: 0.2.0
author: Kubestead contributors (@kubestead)
description:
  - A machine that was installed reports its host keys to the State API at its first boot, with its own token.
    This takes them into a C(known_hosts), in the place of others that it has for the same names, for all
    machines at once.
  - Of a machine that has reported none the file stays as it is.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.changes
  - kubestead.homelab.state_api
  - kubestead.homelab.state_api.module
options:
  hosts:
    description: The machines.
    type: list
    elements: dict
    required: true
    suboptions:
      machine:
        description: MAC address in any notation.
        type: str
        required: true
      names:
        description: The names and addresses that ssh is given.
        type: list
        elements: str
        required: true
      port:
        description: The port that ssh is given.
        type: int
        default: 22
  path:
    description: The file. It is made where there is none.
    type: path
    default: ~/.ssh/known_hosts
"""

EXAMPLES = r"""
- name: Know the new worker
  kubestead.homelab.ssh_known_hosts:
    hosts:
      - machine: 52:54:00:77:00:23
        names: [worker-3, 10.0.0.23]
  delegate_to: localhost
"""

RETURN = r"""
path:
  description: The file.
  returned: success
  type: str
  sample: /home/me/.ssh/known_hosts
known:
  description: The fingerprints of the keys that were reported, by MAC address.
  returned: success
  type: dict
  sample: {"52:54:00:77:00:23": ["SHA256:4X0b…"]}
missing:
  description: The MAC addresses of the machines that have reported none.
  returned: success
  type: list
  elements: str
  sample: []
"""

import os
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils.atomic import write_atomically
from ansible_collections.kubestead.homelab.plugins.module_utils.known_hosts import (
    Key,
    entry_name,
    parse_key,
    with_keys,
)
from ansible_collections.kubestead.homelab.plugins.module_utils.mac import normalise_mac
from ansible_collections.kubestead.homelab.plugins.module_utils.state_api_client import (
    StateApiClient,
    StateApiRefusedError,
)
from ansible_collections.kubestead.homelab.plugins.module_utils.state_api_module import connected, with_api

DATUM = "ssh_host_keys"
NOT_FOUND = 404


def reported(client: StateApiClient, mac: str) -> list[Key]:
    """The host keys that a machine has reported; none when it has not."""
    try:
        value = client.data(mac, DATUM)["value"]
    except StateApiRefusedError as error:
        if error.status != NOT_FOUND:
            raise
        return []
    lines = value.get("keys") if isinstance(value, dict) else value
    return [parse_key(str(line)) for line in (lines if isinstance(lines, list) else [lines])]


def main() -> None:
    """Ask for the keys, write the file, tell."""
    module = AnsibleModule(
        argument_spec=with_api(
            hosts={
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "machine": {"type": "str", "required": True},
                    "names": {"type": "list", "elements": "str", "required": True},
                    "port": {"type": "int", "default": 22},
                },
            },
            path={"type": "path", "default": "~/.ssh/known_hosts"},
        ),
        supports_check_mode=True,
    )
    path = Path(os.path.realpath(module.params["path"]))
    known: dict[str, list[Key]] = {}
    try:
        before = path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else ""
        after = before
        with connected(module) as client:
            for host in module.params["hosts"]:
                mac = normalise_mac(host["machine"])
                names = [entry_name(name, host["port"]) for name in dict.fromkeys(host["names"])]
                known[mac] = reported(client, mac)
                if known[mac]:
                    after = with_keys(after, names, known[mac])
        if after != before and not module.check_mode:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            mode = None if path.exists() else 0o600
            write_atomically(path, after.encode("utf-8", "surrogateescape"), mode)
    except (OSError, ValueError) as error:
        module.fail_json(msg=f"{path}: {error}. The file is as it was.")
    result: dict[str, Any] = {
        "changed": after != before,
        "path": str(path),
        "known": {mac: [key.fingerprint for key in keys] for mac, keys in known.items() if keys},
        "missing": [mac for mac, keys in known.items() if not keys],
    }
    if module._diff and after != before:
        result["diff"] = {
            "before_header": str(path),
            "after_header": str(path),
            "before": before,
            "after": after,
        }
    module.exit_json(**result)


if __name__ == "__main__":
    main()
