#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kernel_settings
short_description: Kernel modules and sysctls, now and after a reboot
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Makes sure that kernel modules are loaded or built in, and that they are loaded again at boot.
  - Sets sysctls, reads them back, and persists them in one file that belongs to this module.
  - All of it in one round trip. Whatever cannot be had is named, all of it at once.
  - Also tells which cgroup version the machine has and whether it is a container, as facts.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.changes
attributes:
  facts:
    description: Returns an C(ansible_facts) dictionary.
    support: full
options:
  modules:
    description: Modules that have to be there. A missing one is an error.
    type: list
    elements: str
    default: []
  optional_modules:
    description: Modules that are used where the kernel has them. Missing ones are named in RV(missing).
    type: list
    elements: str
    default: []
  modules_file:
    description: Where the modules are persisted.
    type: path
    default: /etc/modules-load.d/kubestead.conf
  sysctls:
    description: The settings and their values.
    type: dict
    default: {}
  sysctl_file:
    description:
      - Where the settings are persisted.
      - Files of that folder are read in the order of their names, so the default is read late.
    type: path
    default: /etc/sysctl.d/zz-kubestead.conf
"""

EXAMPLES = r"""
- name: The kernel is ready for pods
  kubestead.homelab.kernel_settings:
    modules: [overlay, br_netfilter]
    optional_modules: [ip_vs]
    sysctls:
      net.ipv4.ip_forward: 1
      net.bridge.bridge-nf-call-iptables: 1
"""

RETURN = r"""
modules:
  description: "What each module is: V(loaded), V(built_in), V(missing), or in check mode V(would_load)."
  returned: always
  type: dict
  sample: {overlay: built_in, br_netfilter: loaded}
missing:
  description: Optional modules that this kernel does not have.
  returned: always
  type: list
  elements: str
sysctls:
  description: Settings that were, or in check mode would be, changed in the running kernel.
  returned: always
  type: dict
  sample: {net.ipv4.ip_forward: {before: "0", after: "1"}}
files:
  description: Files that were, or in check mode would be, written.
  returned: always
  type: list
  elements: str
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

import os
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils import host, kernel
from ansible_collections.kubestead.homelab.plugins.module_utils.write import write_text


def settle_modules(module: AnsibleModule, problems: list[str]) -> dict[str, str]:
    """The state of each module; what was not there is loaded (in check mode: could be) and called ``new``."""
    release = os.uname().release
    required = module.params["modules"]
    states: dict[str, str] = {}

    def run(command: Any) -> tuple[int, str]:
        code, out, err = module.run_command(
            [module.get_bin_path(command[0]) or command[0], *command[1:]], handle_exceptions=False
        )
        return code, out + err

    for name in [*required, *module.params["optional_modules"]]:
        state = kernel.module_state(name, release)
        if state == "absent":
            try:
                why = kernel.loadable(name, run) if module.check_mode else kernel.load_module(name, run)
            except OSError as error:
                why = f"modprobe: {error.strerror}"
            state = "missing" if why else "new"
            if why and name in required:
                problems.append(kernel.module_problem(name, release, why))
        states[name] = state
    return states


def main() -> None:
    """Probe, converge, tell."""
    module = AnsibleModule(
        argument_spec={
            "modules": {"type": "list", "elements": "str", "default": []},
            "optional_modules": {"type": "list", "elements": "str", "default": []},
            "modules_file": {"type": "path", "default": "/etc/modules-load.d/kubestead.conf"},
            "sysctls": {"type": "dict", "default": {}},
            "sysctl_file": {"type": "path", "default": "/etc/sysctl.d/zz-kubestead.conf"},
        },
        supports_check_mode=True,
    )
    options = module.params
    problems: list[str] = []
    states = settle_modules(module, problems)
    loads = [name for name, state in states.items() if state == "new"]
    states.update(dict.fromkeys(loads, "would_load" if module.check_mode else "loaded"))

    settings = {str(key): kernel.sysctl_value(value) for key, value in options["sysctls"].items()}
    changes: dict[str, dict[str, Any]] = {}
    for key, value in settings.items():
        before = kernel.live_sysctl(key)
        if before == value:
            continue
        changes[key] = {"before": before, "after": value}
        if module.check_mode:
            # A module that is not loaded yet may bring the setting.
            problem = kernel.no_such_sysctl(key, value) if before is None and not loads else ""
        else:
            problem = kernel.set_sysctl(key, value)
        if problem:
            problems.append(problem)

    present = [name for name, state in states.items() if state != "missing"]
    files = [
        host.FileChange(path, host.read_text(Path(path)), text)
        for path, text in (
            (options["modules_file"], kernel.render_modules(present)),
            (options["sysctl_file"], kernel.render_sysctls(settings)),
        )
    ]
    files = [change for change in files if change.needed]
    if not module.check_mode:
        for change in files:
            write_text(module, change)
    for sentence in kernel.overriding(settings, options["sysctl_file"]):
        module.warn(sentence)

    result: dict[str, Any] = {
        "changed": bool(files or changes or loads),
        "modules": states,
        "missing": [name for name, state in states.items() if state == "missing"],
        "sysctls": changes,
        "files": [change.path for change in files],
        "ansible_facts": {
            "kubestead_cgroup_version": host.cgroup_version(),
            "kubestead_container": host.container_kind(),
        },
    }
    if module._diff:
        result["diff"] = [
            {
                "before_header": c.path,
                "after_header": c.path,
                "before": c.before or "",
                "after": c.after or "",
            }
            for c in files
        ]
        live_before = "".join(f"{key} = {value['before']}\n" for key, value in changes.items())
        live_after = "".join(f"{key} = {value['after']}\n" for key, value in changes.items()) + "".join(
            f"module {name}\n" for name in loads
        )
        if live_before or live_after:
            result["diff"].append(
                {
                    "before_header": "running kernel",
                    "after_header": "running kernel",
                    "before": live_before,
                    "after": live_after,
                }
            )
    if problems:
        module.fail_json(msg="\n".join(problems), problems=problems, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
