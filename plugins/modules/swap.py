#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: swap
short_description: Swap off, now and after every reboot
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Switches all swap off, makes swap lines of C(/etc/fstab) comments, and masks systemd swap units, services
    and the generator that swap to compressed memory (zram). One round trip.
  - In a container the swap in use is its host's and is left alone; RV(left_alone) then says so.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.changes
options:
  state:
    description: There is only one thing to ask for.
    type: str
    choices: [absent]
    default: absent
  fstab:
    description: The file system table.
    type: path
    default: /etc/fstab
"""

EXAMPLES = r"""
- name: No swap
  kubestead.homelab.swap:
    state: absent
"""

RETURN = r"""
switched_off:
  description: Devices and files that were, or in check mode would be, switched off.
  returned: always
  type: list
  elements: str
  sample: [/dev/sda2]
masked:
  description: Units and generators that were, or in check mode would be, masked.
  returned: always
  type: list
  elements: str
left_alone:
  description: Swap in use that belongs to the host of this container.
  returned: always
  type: list
  elements: str
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils import host, swapping
from ansible_collections.kubestead.homelab.plugins.module_utils.write import write_text


def switch_off(module: AnsibleModule, devices: list[str]) -> list[str]:
    """Sentences about those that could not be switched off."""
    problems = []
    for device in devices:
        code, out, err = module.run_command([module.get_bin_path("swapoff", required=True), "--", device])
        if code != 0:
            said = (err or out).strip()
            remedy = "Is there memory for what is swapped out? Free some, or reboot: it stays off then."
            problems.append(f"{device}: swapoff said: {said}. {remedy}")
    return problems


def main() -> None:
    """Probe, converge, tell."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["absent"], "default": "absent"},
            "fstab": {"type": "path", "default": "/etc/fstab"},
        },
        supports_check_mode=True,
    )
    in_use = swapping.active(host.read_text(Path("/proc/swaps")) or "")
    foreign = bool(host.container_kind())
    to_switch_off = [] if foreign else in_use

    before = host.read_text(Path(module.params["fstab"]))
    fstab = host.FileChange(
        module.params["fstab"], before, None if before is None else swapping.comment_fstab(before)
    )
    units = swapping.units_to_mask()
    masks = [Path("/etc/systemd/system") / unit for unit in units]
    masks += [Path("/etc/systemd/system-generators") / name for name in swapping.generators_to_mask()]

    problems: list[str] = []
    changed = bool(to_switch_off or fstab.needed or masks)
    if changed and not module.check_mode:
        # What keeps it off comes first: should swapoff fail, a reboot finishes it.
        if fstab.needed:
            write_text(module, fstab)
        for path in masks:
            swapping.mask(path)
        if Path("/run/systemd/system").is_dir() and (fstab.needed or masks):
            module.run_command(["systemctl", "daemon-reload"], check_rc=True)
            services = [unit for unit in units if unit.endswith(".service")]
            if services:
                module.run_command(["systemctl", "stop", "--", *services], check_rc=True)
        still = set(swapping.active(host.read_text(Path("/proc/swaps")) or ""))
        problems = switch_off(module, [device for device in to_switch_off if device in still])
        left = [] if foreign or problems else swapping.active(host.read_text(Path("/proc/swaps")) or "")
        problems += [
            f"{device} is swapped to again: who switches it on? See: swapon --show" for device in left
        ]

    result: dict[str, Any] = {
        "changed": changed,
        "switched_off": to_switch_off,
        "masked": [path.name for path in masks],
        "left_alone": in_use if foreign else [],
    }
    if module._diff:
        lines_before = [f"swap on {device}\n" for device in to_switch_off]
        lines_after = [f"masked {path}\n" for path in masks]
        result["diff"] = [
            {
                "before_header": "swap",
                "after_header": "swap",
                "before": "".join(lines_before),
                "after": "".join(lines_after),
            }
        ]
        if fstab.needed:
            result["diff"].append(
                {
                    "before_header": fstab.path,
                    "after_header": fstab.path,
                    "before": fstab.before or "",
                    "after": fstab.after or "",
                }
            )
    if problems:
        module.fail_json(msg="\n".join(problems), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
