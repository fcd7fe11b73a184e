#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: machine_power
short_description: Switch a machine on by its management controller
version_added: 0.2.0
author: Kubestead contributors (@kubestead)
description:
  - "Does with a machine's C(bmc), as the registry has it, what is needed to have the machine run: Redfish by
    M(community.general.redfish_command), IPMI by M(community.general.ipmi_boot) and
    M(community.general.ipmi_power), Wake-on-LAN by M(community.general.wakeonlan)."
  - The secret is read on the controller where the registry's reference points to, and is handed to those
    modules only. It is in no argument list, log or result.
  - It runs on the host that reaches the management controller, usually Ansible's own
    (C(delegate_to=localhost)). IPMI needs pyghmi there. A magic packet is sent from the machine's network.
options:
  bmc:
    description:
      - The entry of the registry, with C(type), C(address), C(credentials) and, where it is needed,
        C(username).
      - For Redfish, C(system) names one of several systems behind one address, and with C(verify) the
        certificate has to be good. For Wake-on-LAN C(address) is where the packet is sent to, else to all.
    type: dict
    required: true
  mac:
    description: The MAC address, for Wake-on-LAN.
    type: str
    required: true
  network:
    description:
      - Whether the next boot, and that one only, is from the network.
      - A magic packet cannot say so. There the machine's own order of boot decides.
    type: bool
    default: false
  reset:
    description:
      - Whether a machine that is on is reset. Without it a machine that is on is left alone.
      - A magic packet cannot do that either.
    type: bool
    default: false
  firmware:
    description: What the machine boots by, where it is known; some controllers want to be told.
    type: str
    choices: [bios, uefi]
  timeout:
    description: How many seconds the controller may take.
    type: int
    default: 60
attributes:
  check_mode:
    description: Can run in check mode and tell what would change, without changing it.
    support: none
  diff_mode:
    description: Shows what has changed, or in check mode would change.
    support: none
"""

EXAMPLES = r"""
- name: Have it boot the installer
  kubestead.homelab.machine_power:
    bmc: "{{ machine_bmc }}"
    mac: "{{ machine_mac }}"
    network: true
    reset: true
  delegate_to: localhost
"""

RETURN = r"""
did:
  description: What was done, in words.
  returned: success
  type: str
  sample: network boot once, switched on
"""
