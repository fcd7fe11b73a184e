#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: machine_install
short_description: Ask for machines to be installed when they boot next
version_added: 0.2.0
author: Kubestead contributors (@kubestead)
description:
  - Asks the State API for the installation of machines that it has never installed. They are given the
    installer when they boot from the network; a disk that is not empty is refused there.
  - What was installed before, is locked or is not in the registry the State API refuses; installed anew it is
    by C(kubestead machines reinstall), by its host name.
  - A machine of which an installation is asked for already stays as it is.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.changes
  - kubestead.homelab.state_api
  - kubestead.homelab.state_api.module
attributes:
  diff_mode:
    support: none
options:
  machines:
    description: The machines, by MAC address or host name.
    type: list
    elements: str
    required: true
  answer:
    description:
      - What a person has answered to the question whether these disks may be written.
      - Anything but V(y) or V(yes) fails, and nothing is asked for.
    type: str
    default: "yes"
"""

EXAMPLES = r"""
- name: Have the new worker installed
  kubestead.homelab.machine_install:
    machines: [worker-3]
  delegate_to: localhost
"""

RETURN = r"""
asked:
  description: The host names of the machines of which an installation was not asked for before.
  returned: success
  type: list
  elements: str
  sample: [worker-3]
kubestead_failure:
  description: V(declined), when O(answer) does not agree.
  returned: failure
  type: str
  sample: declined
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils.lifecycle import INSTALL_STATES
from ansible_collections.kubestead.homelab.plugins.module_utils.state_api_client import StateApiRefusedError
from ansible_collections.kubestead.homelab.plugins.module_utils.state_api_machines import (
    View,
    called,
    find_mac,
)
from ansible_collections.kubestead.homelab.plugins.module_utils.state_api_module import connected, with_api

CONFLICT = 409


def is_asked_for(view: View) -> bool:
    """Whether its installation is asked for, or goes on."""
    installation = view.get("install") or {}
    return view.get("state") in INSTALL_STATES and installation.get("desired_id") != installation.get(
        "completed_id"
    )


def main() -> None:
    """Ask for what is not asked for yet; what is refused is told for all at once."""
    module = AnsibleModule(
        argument_spec=with_api(
            machines={"type": "list", "elements": "str", "required": True},
            answer={"type": "str", "default": "yes"},
        ),
        supports_check_mode=True,
    )
    if module.params["answer"].strip().lower() not in ("y", "yes"):
        module.fail_json(
            msg="Nobody has said yes, so nothing is installed. Answer y, or without a terminal add --yes "
            "(provision_yes=true).",
            kubestead_failure="declined",
        )
    asked, refused = [], []
    with connected(module) as client:
        views = client.machines()
        for mac in dict.fromkeys(find_mac(views, name) for name in module.params["machines"]):
            view = views.get(mac) or {}
            if is_asked_for(view):
                continue
            try:
                if not module.check_mode:
                    client.act(mac, "install", version=view.get("version"))
            except StateApiRefusedError as error:
                if error.status != CONFLICT:
                    raise
                refused.append(f"{called(mac, view)}: {error.detail or error}")
            else:
                asked.append(called(mac, view))
    if refused:
        module.fail_json(
            msg="The State API does not install: " + "; ".join(refused) + ".",
            changed=bool(asked),
            asked=asked,
        )
    module.exit_json(changed=bool(asked), asked=asked)


if __name__ == "__main__":
    main()
