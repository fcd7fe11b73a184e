#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ssh_known_hosts
short_description: Have ssh know hosts, by the keys that they have reported or that a person has accepted
version_added: 0.2.0
author: Kubestead contributors (@kubestead)
description:
  - A machine that was installed reports its host keys to the State API at its first boot, with its own token.
    This takes them into a C(known_hosts), in the place of others that it has for the same names, for all
    machines at once.
  - Of a host that has reported none the file stays as it is, unless it is not in it and O(scan) is set.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.changes
  - kubestead.homelab.state_api
  - kubestead.homelab.state_api.module
options:
  hosts:
    description: The hosts.
    type: list
    elements: dict
    required: true
    suboptions:
      machine:
        description: MAC address in any notation, of a machine that the State API knows.
        type: str
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
  scan:
    description: Whether hosts of which nothing is known are asked for their keys.
    type: bool
    default: false
  accept:
    description:
      - Fingerprints that a person has compared. A host that shows these keys and no others is known then.
    type: list
    elements: str
    default: []
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
unknown:
  description: The fingerprints that unknown hosts show and that were not accepted, by name.
  returned: success
  type: dict
  sample: {"pxe": ["SHA256:9zQ2…"]}
"""

import os
from pathlib import Path
from typing import Any, NamedTuple

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils.atomic import write_atomically
from ansible_collections.kubestead.homelab.plugins.module_utils.known_hosts import (
    Key,
    entry_name,
    keys_of,
    reported_keys,
    scan,
    with_keys,
)
from ansible_collections.kubestead.homelab.plugins.module_utils.mac import normalise_mac
from ansible_collections.kubestead.homelab.plugins.module_utils.state_api_module import connected, with_api

SECONDS = 5


class Host(NamedTuple):
    """A host, by the names that it has in the file."""

    mac: str
    address: str
    port: int
    names: list[str]

    @classmethod
    def of(cls, options: dict[str, Any]) -> Host:
        """Read what the task says of it."""
        port, names = options["port"], list(dict.fromkeys(options["names"]))
        mac = normalise_mac(options["machine"]) if options["machine"] else ""
        return cls(mac, names[0], port, [entry_name(name, port) for name in names])


def reported(module: AnsibleModule, hosts: list[Host]) -> dict[str, list[Key]]:
    """What machines have told the State API, by MAC, where there is one to ask."""
    macs = [host.mac for host in hosts if host.mac]
    if not macs or not module.params["api_url"]:
        return {}
    with connected(module) as client:
        return {mac: reported_keys(client, mac) for mac in macs}


def main() -> None:
    """Ask for the keys, write the file, tell."""
    module = AnsibleModule(
        argument_spec=with_api(
            hosts={
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "machine": {"type": "str"},
                    "names": {"type": "list", "elements": "str", "required": True},
                    "port": {"type": "int", "default": 22},
                },
            },
            path={"type": "path", "default": "~/.ssh/known_hosts"},
            scan={"type": "bool", "default": False},
            accept={"type": "list", "elements": "str", "default": []},
        ),
        supports_check_mode=True,
    )
    path = Path(os.path.realpath(module.params["path"]))
    unknown: dict[str, list[str]] = {}
    try:
        hosts = [Host.of(options) for options in module.params["hosts"]]
        before = path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else ""
        after = before
        known = reported(module, hosts)
        for host in hosts:
            keys = known.get(host.mac, [])
            if not keys and module.params["scan"] and not any(keys_of(before, name) for name in host.names):
                keys = scan(host.address, host.port, SECONDS)
                shown = [key.fingerprint for key in keys]
                if not set(shown) <= set(module.params["accept"]):
                    unknown[host.address] = shown
                    continue
            if keys:
                after = with_keys(after, host.names, keys)
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
        "unknown": unknown,
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
