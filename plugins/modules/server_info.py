#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: server_info
short_description: What a server has of what a role is going to set up
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Answers in one trip what a role asks before it changes anything. Which packages, files and units are
    there, what is in a few files, and which archives the machine's apt uses.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.reads
options:
  packages:
    description: Packages to look for, by the names of dpkg or rpm.
    type: list
    elements: str
    default: []
  paths:
    description: Files and folders to look for.
    type: list
    elements: path
    default: []
  read:
    description: Text files to read.
    type: list
    elements: path
    default: []
  units:
    description: Units of systemd to look for, with their suffix.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: What is there of the web server
  kubestead.homelab.server_info:
    packages: [nginx]
    paths: [/srv/http]
    units: [nginx.service]
  register: found
"""

RETURN = r"""
missing:
  description: Those of O(packages) that are not installed.
  returned: always
  type: list
  elements: str
  sample: [nginx]
unknown:
  description: Those of RV(missing) that apt could not install from the lists that it has; none without apt.
  returned: always
  type: list
  elements: str
  sample: []
paths:
  description:
    - Those of O(paths) that are there, and when they were written last, in seconds since 1970. A link counts
      by what it leads to.
  returned: always
  type: dict
  sample: {/srv/http: 1795398369}
texts:
  description: What is in O(read), by path. A file that is not there is left out.
  returned: always
  type: dict
  sample: {}
units:
  description:
    - Each of O(units). C(known) is whether there is such a unit, C(running) whether it runs, C(enabled)
      whether it starts at boot, in systemd's words such as C(enabled), C(disabled) or C(static), C(since)
      when it was started, stopped or reloaded last, in seconds since 1970.
  returned: always
  type: dict
  sample: {nginx.service: {known: true, running: true, enabled: enabled, since: 1795398370}}
archives:
  description: The archives that apt uses, as M(kubestead.homelab.apt_archives_info) returns them.
  returned: where there is apt
  type: dict
  sample: {debian: "http://mirror.example/debian"}
proxy:
  description: The proxy that apt uses, as M(kubestead.homelab.apt_archives_info) returns it.
  returned: where there is apt
  type: str
  sample: ""
"""

import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils import apt_archives, dpkg, units
from ansible_collections.kubestead.homelab.plugins.module_utils.host import read_text
from ansible_collections.kubestead.homelab.plugins.module_utils.node_system import missing_packages
from ansible_collections.kubestead.homelab.plugins.module_utils.programs import run_program


def main() -> None:
    """Look at all of it."""
    module = AnsibleModule(
        argument_spec={
            "packages": {"type": "list", "elements": "str", "default": []},
            "paths": {"type": "list", "elements": "path", "default": []},
            "read": {"type": "list", "elements": "path", "default": []},
            "units": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    given = module.params

    found: dict[str, t.Any] = {"unknown": []}
    found["missing"] = missing_packages(run_program, given["packages"])
    if module.get_bin_path("apt-get"):
        try:
            found["archives"], found["proxy"] = apt_archives.ask(run_program)
        except apt_archives.AptError as error:
            module.fail_json(msg=f"{error}. `apt-get update` on the machine says more.")
        if found["missing"]:
            can = dpkg.candidates(run_program(["apt-cache", "policy", *found["missing"]])[1])
            found["unknown"] = [name for name in found["missing"] if name not in can]
    found["units"] = {name: unit._asdict() for name, unit in units.show(run_program, given["units"]).items()}
    found["paths"] = {path: int(Path(path).stat().st_mtime) for path in given["paths"] if Path(path).exists()}
    try:
        texts = {path: read_text(Path(path)) for path in given["read"]}
    except OSError as error:
        module.fail_json(msg=f"{error.filename} cannot be read: {error.strerror}.")
    found["texts"] = {path: text for path, text in texts.items() if text is not None}
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
