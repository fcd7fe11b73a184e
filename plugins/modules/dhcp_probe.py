#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dhcp_probe
short_description: Ask who serves DHCP on a network, and what firmware would be told
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Sends a DHCPDISCOVER as an Ethernet frame on an interface and returns every server that answers, with
    the address and the boot file that it offers. No offer is taken, so no address is used up.
  - With O(arch), O(vendor_class) and O(user_class) it asks as a machine's firmware or as iPXE does.
  - A server on the asking machine itself does not hear it. Ask from another machine of the network.
  - Needs root, for raw frames; Linux only.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.reads
options:
  interface:
    description: The network interface to ask on.
    type: str
    required: true
  mac:
    description:
      - Ask as the machine with this MAC address, in any notation. Without it as the interface's own.
      - Virtual machines' hosts and some switches drop what comes from another address than the card's own.
    type: str
  arch:
    description:
      - The architecture of the firmware, by its number. 0 is BIOS, 7 and 9 are x86-64 UEFI, 11 is arm64
        UEFI, 16 is x86-64 UEFI that boots by HTTP.
      - Without it a machine asks that does not want to boot.
    type: int
  vendor_class:
    description:
      - What the firmware says it is. V(PXEClient) and V(HTTPClient) are completed as firmware does.
      - With O(arch) it is V(PXEClient) if nothing else is said.
    type: str
    default: ""
  user_class:
    description: The user class; V(iPXE) asks as iPXE does.
    type: str
    default: ""
  timeout:
    description: How many seconds to wait for answers. The question is repeated every second.
    type: float
    default: 3
  enough:
    description: End as soon as so many servers have answered; 0 waits for all until O(timeout).
    type: int
    default: 0
"""

EXAMPLES = r"""
- name: Who serves DHCP here
  kubestead.homelab.dhcp_probe:
    interface: eth0
  register: found

- name: What a machine with BIOS is told to boot
  kubestead.homelab.dhcp_probe:
    interface: eth0
    arch: 0
    enough: 1

- name: What a machine is told that boots by HTTP
  kubestead.homelab.dhcp_probe:
    interface: eth0
    arch: 16
    vendor_class: HTTPClient
"""

RETURN = r"""
servers:
  description: The servers that answered, in the order of their answers.
  returned: always
  type: list
  elements: dict
  contains:
    server:
      description: The address that the server calls its own.
      type: str
      sample: 10.0.0.10
    sender:
      description: The address that the answer came from.
      type: str
      sample: 10.0.0.10
    sender_mac:
      description: The hardware address that the answer came from.
      type: str
      sample: "52:54:00:77:00:10"
    address:
      description: The address that is offered; empty from a server that tells only what to boot (proxyDHCP).
      type: str
      sample: 10.0.0.200
    next_server:
      description: The TFTP server.
      type: str
      sample: 10.0.0.10
    server_name:
      description: The TFTP server's name.
      type: str
      sample: ""
    file:
      description: The file, or address, to boot.
      type: str
      sample: undionly.kpxe
    vendor_class:
      description: The vendor class of the answer, such as C(HTTPClient).
      type: str
      sample: ""
    hostname:
      description: The host name that the machine is given.
      type: str
      sample: k8s-cp-1
    domain:
      description: Its domain.
      type: str
      sample: home.arpa
    netmask:
      description: Its network mask.
      type: str
      sample: 255.255.255.0
    routers:
      description: Its routers.
      type: list
      elements: str
      sample: [10.0.0.1]
    dns:
      description: Its DNS servers.
      type: list
      elements: str
      sample: [10.0.0.1]
    lease_seconds:
      description: How long the address would be the machine's.
      type: int
      sample: 43200
    milliseconds:
      description: How long the answer took.
      type: int
      sample: 4
mac:
  description: The MAC address that was asked as.
  returned: always
  type: str
  sample: "52:54:00:77:00:11"
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils import dhcp
from ansible_collections.kubestead.homelab.plugins.module_utils.mac import normalise_mac


def main() -> None:
    """Ask, and return what was answered."""
    module = AnsibleModule(
        argument_spec={
            "interface": {"type": "str", "required": True},
            "mac": {"type": "str"},
            "arch": {"type": "int"},
            "vendor_class": {"type": "str", "default": ""},
            "user_class": {"type": "str", "default": ""},
            "timeout": {"type": "float", "default": 3},
            "enough": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    options = module.params
    if options["arch"] is not None and not 0 <= options["arch"] <= 0xFFFF:
        module.fail_json(msg=f"arch is {options['arch']}, expected a number from 0 to 65535.")
    try:
        mac = normalise_mac(options["mac"] or dhcp.mac_of(options["interface"]))
        question = dhcp.Question(mac, options["arch"], options["vendor_class"], options["user_class"])
        offers = dhcp.ask(
            options["interface"], question, os.urandom(4), options["timeout"], options["enough"]
        )
    except FileNotFoundError:
        there = ", ".join(sorted(os.listdir("/sys/class/net")))
        module.fail_json(
            msg=f"interface {options['interface']} is not on this machine, expected one of {there}."
        )
    except ValueError as error:
        module.fail_json(msg=f"mac: {error}.")
    except OSError as error:
        module.fail_json(
            msg=f"it cannot be asked on {options['interface']}: {error.strerror} (is it up? are you root?)."
        )
    module.exit_json(changed=False, mac=mac, servers=[offer.to_dict() for offer in offers])


if __name__ == "__main__":
    main()
