#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: node_settings
short_description: Kernel, swap, names and clock of a machine that runs pods
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Brings a machine to what a node of Kubernetes needs of its system, now and after every reboot, in one
    round trip. Only what is asked for is looked at.
  - Where pods cannot run (O(runs_pods)), or packages are missing (O(packages)), nothing is changed.
  - Whatever cannot be had is named, all of it at once. What does not hang together with it is done all the
    same; names that cannot be ones change nothing.
  - In a container swap and clock are its host's, and left alone.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.changes
attributes:
  facts:
    description: Returns an C(ansible_facts) dictionary.
    support: full
options:
  runs_pods:
    description: Whether pods are to run here. The machine has to have a machine-id, systemd as its init, and
      the control groups that the kubelet needs.
    type: bool
    default: false
  cgroup_v2:
    description: With O(runs_pods), whether control groups of version 1 are refused.
    type: bool
    default: false
  packages:
    description: The packages that have to be there first, by the names of dpkg or rpm. None is installed;
      where some are missing (RV(missing_packages)), there is nothing more to be done yet.
    type: list
    elements: str
    default: []
  modules:
    description: Kernel modules that have to be loaded or built in. A missing one is an error.
    type: list
    elements: str
  optional_modules:
    description: Modules that are used where the kernel has them. Missing ones are named in RV(missing).
    type: list
    elements: str
  modules_file:
    description: Where the modules are persisted, a file that belongs to this module.
    type: path
    default: /etc/modules-load.d/kubestead.conf
  sysctls:
    description: Settings of the kernel and their values; they are set and read back.
    type: dict
  sysctl_file:
    description:
      - Where the settings are persisted, a file that belongs to this module.
      - Files of that folder are read in the order of their names, so the default is read late.
    type: path
    default: /etc/sysctl.d/zz-kubestead.conf
  no_swap:
    description:
      - Switch all swap off, make swap lines of O(fstab) comments, and mask systemd's swap units, the services
        that swap by themselves and the generators of swap to compressed memory (zram).
    type: bool
    default: false
  fstab:
    description: The file system table.
    type: path
    default: /etc/fstab
  hostname:
    description: The machine's own name. Empty leaves it as it is.
    type: str
    default: ""
  hosts:
    description:
      - The names of the machines, for one block in C(/etc/hosts). An empty list removes the block; without
        the option the file is left as it is.
      - What in C(/etc/hosts) speaks against it is named in a warning, and left.
    type: list
    elements: dict
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
    description: Names of links, C(*) for any text, that NetworkManager, where it is installed, leaves alone.
    type: list
    elements: str
    default: []
  clock:
    description:
      - Find the service that keeps the clock right, whichever the machine has (chrony, ntpsec, openntpd,
        systemd-timesyncd), and make sure that it runs and is started at boot. None is installed.
    type: bool
    default: false
  clock_wait:
    description: How many seconds a service that was started now may take until the clock is synchronised. A
      clock that is not is a warning, not an error.
    type: int
    default: 20
"""

EXAMPLES = r"""
- name: A machine that can run pods
  kubestead.homelab.node_settings:
    runs_pods: true
    packages: [conntrack, ethtool]
    modules: [overlay, br_netfilter]
    optional_modules: [ip_vs]
    sysctls:
      net.ipv4.ip_forward: 1
      net.bridge.bridge-nf-call-iptables: 1
    no_swap: true
    hostname: node-1
    hosts:
      - {name: node-1, address: 10.0.0.11}
      - {name: node-2, address: 10.0.0.12}
    unmanaged_links: ["cni*", "flannel*"]
    clock: true
"""

RETURN = r"""
changes:
  description: What was, or in check mode would be, changed.
  returned: always
  type: list
  elements: str
  sample: [sysctl net.ipv4.ip_forward, /etc/hosts]
missing_packages:
  description: Those of O(packages) that are not installed.
  returned: always
  type: list
  elements: str
firewalls:
  description: The firewalls in force, of V(firewalld), V(ufw), V(nftables), V(iptables), and V(kubestead)
    for rules that M(kubestead.homelab.node_firewall) has made.
  returned: with O(runs_pods)
  type: list
  elements: str
problems:
  description: What could not be had.
  returned: always
  type: list
  elements: str
modules:
  description: "What each module is: V(loaded), V(built_in), V(missing), or in check mode V(would_load)."
  returned: when modules are asked for
  type: dict
  sample: {overlay: built_in, br_netfilter: loaded}
missing:
  description: Modules that this kernel does not have.
  returned: when modules are asked for
  type: list
  elements: str
sysctls:
  description: Settings that were, or in check mode would be, changed in the running kernel.
  returned: when O(sysctls) is given
  type: dict
  sample: {net.ipv4.ip_forward: {before: "0", after: "1"}}
swap:
  description: What became of swap.
  returned: with O(no_swap)
  type: dict
  contains:
    switched_off:
      description: Devices and files that were, or in check mode would be, switched off.
      type: list
      elements: str
      sample: [/dev/sda2]
    masked:
      description: Units and generators that were, or in check mode would be, masked.
      type: list
      elements: str
    left_alone:
      description: Swap in use that belongs to the host of this container.
      type: list
      elements: str
hostname:
  description: The machine's own name, as it was.
  returned: when names are asked for
  type: str
clock:
  description: Who keeps the clock right.
  returned: with O(clock)
  type: dict
  contains:
    service:
      description: The service. Empty when there is none.
      type: str
      sample: systemd-timesyncd.service
    synchronised:
      description: Whether systemd says that the clock is synchronised. Right after the start it is not yet.
      returned: when it is not a container's
      type: bool
    reason:
      description: Why there is nothing to do.
      returned: when there is nothing to do
      type: str
      sample: a systemd-nspawn container has its host's clock
ansible_facts:
  description: Facts about the machine.
  returned: always
  type: dict
  contains:
    kubestead_cgroup_version:
      description: 1 or 2.
      type: int
    kubestead_container:
      description: The kind of container that the machine is, or an empty text.
      type: str
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils import (
    firewalls,
    host,
    node_names,
    node_system,
    programs,
)
from ansible_collections.kubestead.homelab.plugins.module_utils import node_settling as settle
from ansible_collections.kubestead.homelab.plugins.module_utils.converging import Converging

ARGUMENTS: dict[str, dict[str, Any]] = {
    "runs_pods": {"type": "bool", "default": False},
    "cgroup_v2": {"type": "bool", "default": False},
    "packages": {"type": "list", "elements": "str", "default": []},
    "modules": {"type": "list", "elements": "str"},
    "optional_modules": {"type": "list", "elements": "str"},
    "modules_file": {"type": "path", "default": "/etc/modules-load.d/kubestead.conf"},
    "sysctls": {"type": "dict"},
    "sysctl_file": {"type": "path", "default": "/etc/sysctl.d/zz-kubestead.conf"},
    "no_swap": {"type": "bool", "default": False},
    "fstab": {"type": "path", "default": "/etc/fstab"},
    "hostname": {"type": "str", "default": ""},
    "hosts": {
        "type": "list",
        "elements": "dict",
        "options": {
            "name": {"type": "str", "required": True},
            "address": {"type": "str", "required": True},
        },
    },
    "unmanaged_links": {"type": "list", "elements": "str", "default": []},
    "clock": {"type": "bool", "default": False},
    "clock_wait": {"type": "int", "default": 20},
}


def settle_all(to: Converging, given: dict[str, Any], hosts: Any, problems: list[str]) -> dict[str, Any]:
    """Do what is asked for; return what there is to tell."""
    told: dict[str, Any] = {}
    states: dict[str, str] = {}
    if given["modules"] is not None or given["optional_modules"] is not None:
        required, optional = given["modules"] or [], given["optional_modules"] or []
        states = settle.kernel_modules(to, required, optional, Path(given["modules_file"]), problems)
        told["modules"] = states
        told["missing"] = [name for name, state in states.items() if state == "missing"]
    if given["sysctls"] is not None:
        more_come = "would_load" in states.values()
        path = Path(given["sysctl_file"])
        told["sysctls"] = settle.sysctls(to, given["sysctls"], path, more_come, problems)
    if given["no_swap"]:
        told["swap"] = settle.no_swap(to, Path(given["fstab"]), problems)
    if given["hostname"] or hosts is not None or given["unmanaged_links"]:
        told["hostname"] = settle.names(to, given["hostname"], hosts, given["unmanaged_links"])
    if given["clock"]:
        told["clock"] = settle.clock(to, given["clock_wait"], problems)
    return told


def main() -> None:
    """Look, converge, tell."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    given = module.params
    hosts = given["hosts"] and [(one["name"], one["address"]) for one in given["hosts"]]
    problems = node_names.hosts_problems(hosts or [])
    if given["hostname"] and node_names.name_problem(given["hostname"]):
        problems.append(node_names.name_problem(given["hostname"]))
    if given["runs_pods"]:
        problems += node_system.problems(given["cgroup_v2"])
    if problems:
        module.fail_json(msg="\n".join([*problems, "Nothing was changed."]), problems=problems)
    to = Converging(module)
    lacking = node_system.missing_packages(programs.run_program, given["packages"])
    told = {} if lacking else settle_all(to, given, hosts, problems)
    told["missing_packages"] = lacking
    if given["runs_pods"]:
        told["firewalls"] = firewalls.active(programs.run_program)
    told.update(to.result(), problems=problems)
    told["ansible_facts"] = {
        "kubestead_cgroup_version": host.cgroup_version(),
        "kubestead_container": host.container_kind(),
    }
    if problems:
        module.fail_json(msg="\n".join(problems), **told)
    module.exit_json(**told)


if __name__ == "__main__":
    main()
