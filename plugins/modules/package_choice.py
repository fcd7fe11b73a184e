#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: package_choice
short_description: Which of several packages a machine has, or could have
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Some software comes under different names from different repositories. Of the names given, the first
    that is installed
    is chosen, else the first that apt could install.
  - One round trip; it reads what dpkg and apt know and changes nothing.
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
  kubestead.homelab.package_choice:
    name: [containerd.io, containerd]
  register: choice
"""

RETURN = r"""
name:
  description: The package chosen. Empty when there is none.
  returned: always
  type: str
  sample: containerd
installed:
  description: The version that is installed. Empty when it is not.
  returned: always
  type: str
  sample: 1.7.24~ds1-6
candidate:
  description: The version that would be installed. Empty when it is installed already or cannot be.
  returned: always
  type: str
upstream:
  description: The version installed, else the candidate, without what the distribution added.
  returned: always
  type: str
  sample: 1.7.24
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils import dpkg


def main() -> None:
    """Ask dpkg; ask apt only about what is not installed."""
    module = AnsibleModule(
        argument_spec={"name": {"type": "list", "elements": "str", "required": True}},
        supports_check_mode=True,
    )
    names: list[str] = module.params["name"]
    if not module.get_bin_path("dpkg-query"):
        module.fail_json(msg="package_choice needs dpkg and apt, which this machine does not have.")
    _code, out, _err = module.run_command(["dpkg-query", "--show", "--showformat", dpkg.QUERY, *names])
    have = dpkg.installed(out)
    can: dict[str, str] = {}
    if not have:
        _code, out, _err = module.run_command(["apt-cache", "policy", *names])
        can = dpkg.candidates(out)
    name = dpkg.choose(names, have, can)
    version = have[name].version if name in have else ""
    module.exit_json(
        changed=False,
        name=name,
        installed=version,
        candidate=can.get(name, ""),
        upstream=dpkg.upstream(version or can.get(name, "")),
    )


if __name__ == "__main__":
    main()
