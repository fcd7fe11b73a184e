#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: apt_archives_info
short_description: Which archives of Debian and Ubuntu a machine's apt uses
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Asks apt, which reads its sources in every form that there is, and goes by what the archives say of
    themselves.
  - Archives of which apt has no lists (C(apt-get update)) are not known.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.reads
"""

EXAMPLES = r"""
- name: Which archives
  kubestead.homelab.apt_archives_info:
  register: archives
"""

RETURN = r"""
archives:
  description:
    - Their addresses. The names are C(debian), C(debian-security), C(ubuntu), C(ubuntu-security), and for
      other processors C(ubuntu-ports) and C(ubuntu-ports-security).
  returned: always
  type: dict
  sample: {debian: "http://mirror.example/debian", debian-security: "http://mirror.example/debian-security"}
proxy:
  description: The proxy that apt uses, if other machines can use it as well; else empty.
  returned: always
  type: str
  sample: http://10.0.0.5:3142
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils import apt_archives
from ansible_collections.kubestead.homelab.plugins.module_utils.programs import run_program


def main() -> None:
    """Ask apt."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    if not module.get_bin_path("apt-get"):
        module.fail_json(msg="apt_archives_info needs apt, which this machine does not have.")
    try:
        archives, proxy = apt_archives.ask(run_program)
    except apt_archives.AptError as error:
        module.fail_json(msg=f"{error}. `apt-get update` on the machine says more.")
    module.exit_json(changed=False, archives=archives, proxy=proxy)


if __name__ == "__main__":
    main()
