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
  - With O(arch), O(vendor_class) and O(user_class) it asks as a machine's firmware or as iPXE does, with
    O(questions) as several at once.
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
  questions:
    description: Ask as all of these at once, instead of as one; what they do not say is as outside of them.
    type: list
    elements: dict
    suboptions:
      mac:
        description: As O(mac).
        type: str
      arch:
        description: As O(arch).
        type: int
      vendor_class:
        description: As O(vendor_class).
        type: str
      user_class:
        description: As O(user_class).
        type: str
  server:
    description: Only what the server with this address offers counts and is returned.
    type: str
    default: ""
  timeout:
    description: How many seconds to wait for answers. A question is repeated every second.
    type: float
    default: 3
  enough:
    description:
      - End as soon as so many servers have answered, each question where there are several; 0 waits for all
        until O(timeout).
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

- name: What BIOS, UEFI and iPXE are told, in one go
  kubestead.homelab.dhcp_probe:
    interface: eth0
    enough: 1
    questions:
      - arch: 0
      - arch: 7
      - arch: 7
        user_class: iPXE
"""

RETURN = r"""
servers:
  description: The servers that answered, in the order of their answers.
  returned: without O(questions)
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
  returned: without O(questions)
  type: str
  sample: "52:54:00:77:00:11"
answers:
  description: What each question was answered, in the order of the questions.
  returned: with O(questions)
  type: list
  elements: dict
  contains:
    mac:
      description: The MAC address that was asked as.
      type: str
      sample: "52:54:00:77:00:11"
    servers:
      description: The servers that answered, as RV(servers).
      type: list
      elements: dict
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils import dhcp
from ansible_collections.kubestead.homelab.plugins.module_utils.mac import normalise_mac

_QUESTION = {
    "mac": {"type": "str"},
    "arch": {"type": "int"},
    "vendor_class": {"type": "str"},
    "user_class": {"type": "str"},
}


def question(asked: t.Mapping[str, t.Any], interface: str, name: str = "") -> dhcp.Question:
    """One question from its options; raises ValueError, and FileNotFoundError without such an interface."""
    try:
        mac = normalise_mac(asked["mac"] or dhcp.mac_of(interface))
    except ValueError as error:
        raise ValueError(f"{name}mac: {error}.") from error
    arch = asked["arch"]
    if arch is not None and not 0 <= arch <= 0xFFFF:
        raise ValueError(f"{name}arch is {arch}, expected a number from 0 to 65535.")
    return dhcp.Question(mac, arch, asked["vendor_class"] or "", asked["user_class"] or "")


def main() -> None:
    """Ask, and return what was answered."""
    module = AnsibleModule(
        argument_spec={
            "interface": {"type": "str", "required": True},
            **_QUESTION,
            "vendor_class": {"type": "str", "default": ""},
            "user_class": {"type": "str", "default": ""},
            "questions": {"type": "list", "elements": "dict", "options": _QUESTION},
            "server": {"type": "str", "default": ""},
            "timeout": {"type": "float", "default": 3},
            "enough": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    options = module.params
    interface, several = options["interface"], options["questions"]
    problems: list[str] = []
    questions: list[dhcp.Question] = []
    try:
        for number, asked in enumerate([options] if several is None else several):
            whole = {key: options[key] if asked[key] is None else asked[key] for key in _QUESTION}
            name = "" if several is None else f"questions[{number}]: "
            try:
                questions.append(question(whole, interface, name))
            except ValueError as error:
                problems.append(str(error))
        if problems:
            module.fail_json(msg="\n".join(problems))
        answers = dhcp.ask(interface, questions, options["timeout"], options["enough"], options["server"])
    except FileNotFoundError:
        there = ", ".join(sorted(os.listdir("/sys/class/net")))
        module.fail_json(msg=f"interface {interface} is not on this machine, expected one of {there}.")
    except OSError as error:
        module.fail_json(
            msg=f"it cannot be asked on {interface}: {error.strerror} (is it up? are you root?)."
        )
    found = [
        {"mac": asked.mac, "servers": [offer.to_dict() for offer in offers]}
        for asked, offers in zip(questions, answers)
    ]
    if several is None:
        module.exit_json(changed=False, **found[0])
    module.exit_json(changed=False, answers=found)


if __name__ == "__main__":
    main()
