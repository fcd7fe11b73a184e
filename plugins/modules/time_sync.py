#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: time_sync
short_description: The clock is kept right by a service
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Finds the service that keeps the clock right, whichever the machine has (chrony, ntpsec, openntpd,
    systemd-timesyncd),
    and makes sure that it runs and is started at boot. One round trip.
  - It installs nothing. Where there is no such service RV(service) is empty.
  - A container has its host's clock; there is nothing to do, and RV(reason) says so.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.changes
options:
  services:
    description: The services to look for, the preferred one first. The default is all that are known.
    type: list
    elements: str
  wait:
    description: How many seconds a service that was started now may take until the clock is synchronised. A
      clock that is not is a warning, not an error.
    type: int
    default: 20
"""

EXAMPLES = r"""
- name: The clock is right
  kubestead.homelab.time_sync:
  register: clock
"""

RETURN = r"""
service:
  description: The service that keeps the clock right. Empty when there is none.
  returned: always
  type: str
  sample: systemd-timesyncd.service
synchronised:
  description: Whether systemd says that the clock is synchronised. Right after the service was started it
    is not yet.
  returned: when there is a service
  type: bool
reason:
  description: Why there is nothing to do.
  returned: when there is nothing to do
  type: str
  sample: a systemd-nspawn container has its host's clock
"""

import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils import host, timekeeping


def synchronised(module: AnsibleModule) -> bool:
    """Whether systemd says that the clock is right."""
    command = ["timedatectl", "show", "--property=NTPSynchronized", "--value"]
    return bool(module.run_command(command)[1].strip() == "yes")


def main() -> None:
    """Probe, converge, tell."""
    module = AnsibleModule(
        argument_spec={
            "services": {"type": "list", "elements": "str"},
            "wait": {"type": "int", "default": 20},
        },
        supports_check_mode=True,
    )
    container = host.container_kind()
    if container:
        module.exit_json(changed=False, service="", reason=f"a {container} container has its host's clock")
    if not Path("/run/systemd/system").is_dir():
        module.fail_json(
            msg="time_sync needs systemd as the machine's init, which it is not here.", service=""
        )
    names = module.params["services"] or list(timekeeping.SERVICES)
    properties = ["--property=Id,LoadState,ActiveState,UnitFileState"]
    _code, out, _err = module.run_command(["systemctl", "show", *properties, "--", *names], check_rc=True)
    units = timekeeping.parse_units(out)
    service = timekeeping.choose(units, names)
    if not service:
        module.exit_json(changed=False, service="", synchronised=False)
    unit = units[service]
    start = unit.active not in ("active", "activating")
    # Static and aliased units have no state of their own to enable.
    enable = unit.file_state == "disabled"
    if (start or enable) and not module.check_mode:
        if enable:
            module.run_command(["systemctl", "enable", "--", service], check_rc=True)
        if start:
            module.run_command(["systemctl", "start", "--", service], check_rc=True)
    right = synchronised(module)
    end = time.monotonic() + (module.params["wait"] if start and not module.check_mode else 0)
    while not right and time.monotonic() < end:
        time.sleep(1)
        right = synchronised(module)
    if not right and not module.check_mode:
        module.warn(
            f"The clock is not synchronised yet. Does {service} reach a time server? Certificates fail where "
            "clocks differ by minutes."
        )
    result: dict[str, Any] = {"changed": start or enable, "service": service, "synchronised": right}
    if module._diff:
        was = f"{service} {unit.active} {unit.file_state}\n"
        result["diff"] = {"before": was, "after": f"{service} active enabled\n" if start or enable else was}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
