#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: unmanaged_pods
short_description: Restart the pods that Cilium does not know
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Pods that ran before Cilium was there have an address that it did not give them; they do not reach those
    that have. They are deleted, and what owns them makes them anew. Pods of the host's network are left.
  - Run it on a control plane; it asks the API with C(admin.conf).
extends_documentation_fragment:
  - kubestead.homelab.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options: {}
"""

EXAMPLES = r"""
- name: Pods from before Cilium are restarted
  kubestead.homelab.unmanaged_pods:
"""

RETURN = r"""
pods:
  description: The pods that were restarted, or in check mode would be, with their namespace.
  returned: success
  type: list
  elements: str
  sample: [kube-system/coredns-5d78c9869d-abcde]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils.kubeconfig import (
    Client,
    KubeconfigError,
    load_kubeconfig,
)
from ansible_collections.kubestead.homelab.plugins.module_utils.node_state import Paths
from ansible_collections.kubestead.homelab.plugins.module_utils.pod_network import (
    PodNetworkError,
    find_unmanaged,
    restart,
)


def main() -> None:
    """Find them, and restart them."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    try:
        client = Client(load_kubeconfig(Paths().kubernetes / "admin.conf"))
        pods = find_unmanaged(client)
        if not module.check_mode:
            restart(client, pods)
    except (KubeconfigError, PodNetworkError) as error:
        module.fail_json(msg=f"The pods that Cilium does not know cannot be restarted: {error}")
    module.exit_json(changed=bool(pods), pods=[f"{namespace}/{name}" for namespace, name in pods])


if __name__ == "__main__":
    main()
