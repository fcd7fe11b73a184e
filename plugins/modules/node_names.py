#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: node_names
short_description: A machine's own name, and the names of the others
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Gives a machine its name, C(/etc/hosts) the names of the other machines in one block, and has
    NetworkManager, where that is installed, leave the pod network's links alone. One round trip.
  - What in C(/etc/hosts) speaks against that is named in a warning, and left.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.changes
options:
  hostname:
    description: The machine's own name. Empty leaves it as it is.
    type: str
    default: ""
  hosts:
    description: The names of the machines. Empty removes the block.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The name.
        type: str
        required: true
      address:
        description: Its address.
        type: str
        required: true
  unmanaged_links:
    description: Names of links, C(*) for any text, that NetworkManager leaves alone.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Names
  kubestead.homelab.node_names:
    hostname: node-1
    hosts:
      - {name: node-1, address: 10.0.0.11}
      - {name: node-2, address: 10.0.0.12}
    unmanaged_links: ["cni*", "flannel*"]
"""

RETURN = r"""
hostname:
  description: The machine's own name, as it was.
  returned: always
  type: str
changes:
  description: What was, or in check mode would be, changed.
  returned: always
  type: list
  elements: str
"""

import socket
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils import node_names
from ansible_collections.kubestead.homelab.plugins.module_utils.converging import Converging
from ansible_collections.kubestead.homelab.plugins.module_utils.host import read_text
from ansible_collections.kubestead.homelab.plugins.module_utils.kernel import HEADER

HOSTS = Path("/etc/hosts")
HOSTNAME = Path("/etc/hostname")
NETWORK_MANAGER = Path("/etc/NetworkManager/conf.d")


def settle_name(module: AnsibleModule, to: Converging, old: str, new: str) -> None:
    """Its name, now and at the next boot."""
    to.file(HOSTNAME, f"{new}\n")
    if old != new and to.note("the name of the running system", f"{old}\n", f"{new}\n"):
        socket.sethostname(new)
        if socket.gethostname() != new:
            module.fail_json(msg=f"The name was set to {new}, but the system says {socket.gethostname()}.")


def main() -> None:
    """Compare, then write."""
    module = AnsibleModule(
        argument_spec={
            "hostname": {"type": "str", "default": ""},
            "hosts": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "address": {"type": "str", "required": True},
                },
            },
            "unmanaged_links": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    new, old = module.params["hostname"], socket.gethostname()
    hosts = [(host["name"], host["address"]) for host in module.params["hosts"]]
    problems = node_names.hosts_problems(hosts)
    if new and node_names.name_problem(new):
        problems.append(node_names.name_problem(new))
    if problems:
        module.fail_json(msg="\n".join([*problems, "Nothing was changed."]))
    to = Converging(module)
    before = read_text(HOSTS) or ""
    for sentence in node_names.warnings(before, hosts):
        module.warn(sentence)
    to.file(HOSTS, node_names.hosts_text(before, hosts, old, new))
    if new:
        settle_name(module, to, old, new)
    links, changes = module.params["unmanaged_links"], len(to.changes)
    if links and NETWORK_MANAGER.is_dir():
        to.file(NETWORK_MANAGER / "kubestead.conf", node_names.unmanaged_text(HEADER, links))
        if len(to.changes) > changes and not module.check_mode:
            module.run_command(["nmcli", "general", "reload", "conf"])
    module.exit_json(hostname=old, **to.result())


if __name__ == "__main__":
    main()
