#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: packages_info
short_description: Which of several packages a machine has, or could have
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Tells which packages are installed and which are missing, in one round trip and faster than apt or dnf.
  - Some software comes under different names from different repositories. RV(choice) is the first of the
    names that is installed, else the first that apt could install.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.reads
options:
  name:
    description: The names, the preferred one first.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Which containerd
  kubestead.homelab.packages_info:
    name: [containerd.io, containerd]
  register: containerd
"""

RETURN = r"""
packages:
  description: The installed ones, with C(version) and C(held).
  returned: always
  type: dict
  sample: {containerd: {version: 1.7.24~ds1-6, held: false}}
missing:
  description: The others.
  returned: always
  type: list
  elements: str
  sample: [containerd.io]
choice:
  description: The package chosen. Its name is empty when there is none.
  returned: always
  type: dict
  contains:
    name:
      description: The package's name.
      type: str
      sample: containerd
    installed:
      description: The version that is installed. Empty when it is not.
      type: str
      sample: 1.7.24~ds1-6
    candidate:
      description: The version that apt would install. Empty when one of the packages is installed.
      type: str
    upstream:
      description: The version installed, else the candidate, without what the distribution added.
      type: str
      sample: 1.7.24
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils import dpkg, rpm
from ansible_collections.kubestead.homelab.plugins.module_utils.host import read_text


def candidates(module: AnsibleModule, names: "list[str]") -> "dict[str, str]":
    """What apt or dnf would install."""
    if module.get_bin_path("apt-cache"):
        _code, out, _err = module.run_command(["apt-cache", "policy", *names])
        return dpkg.candidates(out)
    query = ["dnf", "--quiet", "repoquery", "--latest-limit=1", "--queryformat", rpm.QUERY_AVAILABLE, *names]
    _code, out, _err = module.run_command(query)
    return rpm.versions(out)


def main() -> None:
    """Ask dpkg or rpm; ask apt or dnf only when nothing is installed."""
    module = AnsibleModule(
        argument_spec={"name": {"type": "list", "elements": "str", "required": True}},
        supports_check_mode=True,
    )
    names: list[str] = module.params["name"]
    if module.get_bin_path("dpkg-query"):
        _code, out, _err = module.run_command(["dpkg-query", "--show", "--showformat", dpkg.QUERY, *names])
        have = dpkg.installed(out)
    elif module.get_bin_path("rpm"):
        _code, out, _err = module.run_command(["rpm", "--query", "--queryformat", rpm.QUERY, *names])
        have = rpm.installed(out, read_text(Path(rpm.LOCK_LIST)) or "")
    else:
        module.fail_json(msg="packages_info needs dpkg or rpm, neither of which this machine has.")
    can = {} if have else candidates(module, names)
    name = dpkg.choose(names, have, can)
    version = have[name].version if name in have else ""
    choice = {"name": name, "installed": version, "candidate": can.get(name, "")}
    choice["upstream"] = dpkg.upstream(version or choice["candidate"])
    module.exit_json(
        changed=False,
        packages={name: package._asdict() for name, package in have.items()},
        missing=[name for name in names if name not in have],
        choice=choice,
    )


if __name__ == "__main__":
    main()
