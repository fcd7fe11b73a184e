#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: os_info
short_description: What a machine's system is like before it becomes a node
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Tells in one round trip which packages are missing, by what the machine is told from others, which
    control groups it has, whether SELinux is enforcing, and which firewalls are in force.
  - What would keep pods from running is named in RV(problems), all of it at once.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.reads
options:
  packages:
    description: The packages that have to be there, by the names of dpkg or rpm.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: What the machine is like
  kubestead.homelab.os_info:
    packages: [conntrack, ethtool]
  register: system
"""

RETURN = r"""
missing:
  description: Those of O(packages) that are not installed.
  returned: always
  type: list
  elements: str
machine_id:
  description: The id of the installed system. Empty when it has none.
  returned: always
  type: str
product_uuid:
  description: The number of the machine. Empty in a container, or where its firmware has none.
  returned: always
  type: str
container:
  description: The kind of container that the machine is, or an empty text.
  returned: always
  type: str
cgroup_version:
  description: 1 or 2.
  returned: always
  type: int
cgroup_controllers:
  description: The controllers that are switched on.
  returned: always
  type: list
  elements: str
selinux:
  description: V(enforcing), V(permissive), or V(absent). It is never changed.
  returned: always
  type: str
firewalls:
  description: The firewalls in force, of V(firewalld), V(ufw), V(nftables), V(iptables), and V(kubestead)
    for rules that M(kubestead.homelab.node_firewall) has made.
  returned: always
  type: list
  elements: str
problems:
  description: Sentences about what keeps pods from running here.
  returned: always
  type: list
  elements: str
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils import (
    control_groups,
    dpkg,
    firewalls,
    host,
    identity,
    programs,
    rpm,
)


def missing(module: AnsibleModule, names: "list[str]") -> "list[str]":
    """Those that are not installed; other programs' names for a package ("Provides") count with rpm."""
    if not names:
        return []
    if module.get_bin_path("dpkg-query"):
        _code, out, _err = module.run_command(["dpkg-query", "--show", "--showformat", dpkg.QUERY, *names])
        have = dpkg.installed(out)
        return [name for name in names if name not in have]
    if not module.get_bin_path("rpm"):
        module.fail_json(msg="os_info needs dpkg or rpm, neither of which this machine has.")
    query = ["rpm", "--query", "--whatprovides", "--queryformat", rpm.QUERY]
    return [name for name in names if module.run_command([*query, name])[0] != 0]


def selinux() -> str:
    """As the kernel has it."""
    text = host.read_text(Path("/sys/fs/selinux/enforce"))
    return "absent" if text is None else "enforcing" if text.strip() == "1" else "permissive"


def main() -> None:
    """Read and tell."""
    module = AnsibleModule(
        argument_spec={"packages": {"type": "list", "elements": "str", "default": []}},
        supports_check_mode=True,
    )
    problems = []
    own_id = identity.machine_id()
    if not own_id:
        problems.append(
            "/etc/machine-id is empty or missing: systemd-machine-id-setup makes one, then reboot."
        )
    if not Path("/run/systemd/system").is_dir():
        problems.append(
            "The machine's init is not systemd, which kubelet and container runtime are units of."
        )
    without = control_groups.problem()
    if without:
        problems.append(without)
    module.exit_json(
        changed=False,
        missing=missing(module, module.params["packages"]),
        machine_id=own_id,
        product_uuid=identity.product_uuid(),
        container=host.container_kind(),
        cgroup_version=host.cgroup_version(),
        cgroup_controllers=control_groups.controllers(),
        selinux=selinux(),
        firewalls=firewalls.active(programs.run_program),
        problems=problems,
    )


if __name__ == "__main__":
    main()
