#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: package_hold
short_description: Hold packages at their version
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Holds several packages in one round trip, so that an ordinary upgrade of the system leaves them alone,
    or lets them go.
  - For machines with dpkg.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.changes
options:
  name:
    description: The packages. To be held they have to be installed; in check mode those that are not are
      taken as going to be.
    type: list
    elements: str
    required: true
  state:
    description: Whether they are held.
    type: str
    choices: [held, free]
    default: held
"""

EXAMPLES = r"""
- name: Kubernetes is upgraded on purpose only
  kubestead.homelab.package_hold:
    name: [kubeadm, kubelet, kubectl]
"""

RETURN = r"""
packages:
  description: Packages whose hold was, or in check mode would be, changed.
  returned: always
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils import dpkg


def main() -> None:
    """Probe, converge, tell."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "list", "elements": "str", "required": True},
            "state": {"type": "str", "choices": ["held", "free"], "default": "held"},
        },
        supports_check_mode=True,
    )
    names: list[str] = module.params["name"]
    hold = module.params["state"] == "held"
    if not module.get_bin_path("dpkg-query"):
        module.fail_json(msg="package_hold needs dpkg, which this machine does not have.")
    # It ends with 1 when a package is unknown, and still tells about the others.
    _code, out, _err = module.run_command(["dpkg-query", "--show", "--showformat", dpkg.QUERY, *names])
    have = dpkg.installed(out)
    missing = [name for name in names if name not in have]
    if hold and missing and not module.check_mode:
        module.fail_json(
            msg=f"Not installed, so not to be held: {', '.join(missing)}. Install them first.", packages=[]
        )
    change = [
        name for name in names if (name in have and have[name].held != hold) or (name in missing and hold)
    ]
    if change and not module.check_mode:
        selections = "".join(f"{name} {'hold' if hold else 'install'}\n" for name in change)
        module.run_command(["dpkg", "--set-selections"], data=selections, check_rc=True)

    result: dict[str, Any] = {"changed": bool(change), "packages": change}
    if module._diff:
        result["diff"] = {
            "before": "".join(f"{name} {'free' if hold else 'held'}\n" for name in change),
            "after": "".join(f"{name} {'held' if hold else 'free'}\n" for name in change),
        }
    module.exit_json(**result)


if __name__ == "__main__":
    main()
