#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: installed_system
short_description: Prove that a machine runs from its disk, and from which installation
version_added: 0.2.0
author: Kubestead contributors (@kubestead)
description:
  - Looks where the root file system is. Fails where it is in memory, as it is in an installer or the rescue
    system.
  - With O(install_id), fails too where root is no block device, or the system is from another installation.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.reads
options:
  install_id:
    description: The installation that the machine was asked to complete.
    type: str
"""

EXAMPLES = r"""
- name: It runs what was installed
  kubestead.homelab.installed_system:
    install_id: "{{ found.machines[0].install.completed_id }}"
"""

RETURN = r"""
root:
  description: C(source) and C(type) of the root file system, and its C(kind), V(disk), V(memory) or V(other).
  returned: always
  type: dict
  sample: {"source": "/dev/vda2", "type": "ext4", "kind": "disk"}
install_id:
  description: The installation that the system is from; empty where it is from none of ours.
  returned: always
  type: str
  sample: 0b3f6a5e
"""

import json
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils.root_system import find_root

AGENT = Path("/etc/kubestead/agent.json")


def main() -> None:
    """Look, judge, tell."""
    module = AnsibleModule(argument_spec={"install_id": {"type": "str"}}, supports_check_mode=True)
    wanted = module.params["install_id"]
    root = find_root(Path("/"))
    try:
        said = json.loads(AGENT.read_text(encoding="utf-8"))
        found = str(said.get("install_id") or "") if isinstance(said, dict) else ""
    except FileNotFoundError:
        found = ""
    except (OSError, ValueError) as error:
        module.fail_json(msg=f"{AGENT} cannot be read: {error}. Does the task become root?")
    result = {"changed": False, "root": root._asdict(), "install_id": found}
    where = f"its root is {root.source} ({root.type})"
    if root.kind == "memory":
        module.fail_json(msg=f"It runs in memory, not from its disk: {where}. Restart it.", **result)
    if wanted and root.kind != "disk":
        module.fail_json(msg=f"It was installed, but does not run from its disk: {where}.", **result)
    if wanted and found != wanted:
        module.fail_json(
            msg=f"It runs another installation than was asked for: {found or 'none of ours'}, "
            f"expected {wanted}. Does it boot from the disk that was written? See its order of boot.",
            **result,
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
