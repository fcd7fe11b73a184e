#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: diagnostics
short_description: Find out why a node of a cluster does not work
version_added: 0.3.0
author: Kubestead contributors (@kubestead)
description:
  - Collects on a machine, in one round trip, what tells why something does not work. That is units and their
    journals, containers and their last words, sockets, ports, certificates, disks, kernel messages,
    processes, the folders of Kubernetes, what the API says. Works on a machine that has never seen
    Kubernetes, and on one whose disk is full.
  - Names the likely cause and what to do, from a table of known troubles. What is true now counts more than
    what logs tell.
  - Keys, tokens and passwords are taken out on the machine. The archive comes to the controller; nothing is
    written on the machine.
  - With O(failure) the task always fails, with the message of the task that failed before, and with the
    likely cause. So it stands in a rescue.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.reads
options:
  host:
    description: How the machine is called. By default, as the inventory calls it.
    type: str
  dest:
    description: A folder on the controller for the archive; it is made where there is none. Without it no
      archive is brought.
    type: path
  cri_socket:
    description: Where the container runtime listens.
    type: str
    default: unix:///var/run/containerd/containerd.sock
  since:
    description: From when on journals are read, as C(journalctl) takes it.
    type: str
    default: -45min
  failure:
    description: What C(ansible_failed_result) is in a rescue.
    type: dict
  failure_text:
    description: The message that is looked at first. Made of O(failure) where there is one.
    type: str
    default: ""
  controller_time:
    description: The controller's time in seconds since 1970. It is set by the action.
    type: float
"""

EXAMPLES = r"""
- name: Find out what is wrong
  kubestead.homelab.diagnostics:
    dest: ~/diagnostics
  register: found

- name: Do something, and say why when it fails
  block:
    - name: Join
      ansible.builtin.include_role:
        name: kubestead.homelab.kubeadm_join
  rescue:
    - name: Find out why
      kubestead.homelab.diagnostics:
        dest: ~/diagnostics
        failure: "{{ ansible_failed_result }}"
"""

RETURN = r"""
findings:
  description: What is likely wrong, the likeliest first.
  returned: always
  type: list
  elements: dict
  sample:
    - name: runtime-silent
      cause: "The container runtime does not answer: containerd.service is inactive."
      remedy: "On worker-1: systemctl restart containerd; journalctl -u containerd says why it stopped."
      evidence: "[Errno 111] Connection refused"
      section: ""
      weight: 90
lines:
  description: The same for a person.
  returned: always
  type: list
  elements: str
state:
  description: What the node is, see M(kubestead.homelab.kubeadm_facts).
  returned: always
  type: str
  sample: worker
in_trouble:
  description: Whether anything is not as it should be now.
  returned: always
  type: bool
archive:
  description: The archive on the controller.
  returned: when O(dest) is given
  type: str
  sample: /home/me/diagnostics/worker-1-20261121T231500Z.tar.gz
"""

import base64
import json
from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils.collecting import Collector, api_texts, pack
from ansible_collections.kubestead.homelab.plugins.module_utils.diagnosis import lines
from ansible_collections.kubestead.homelab.plugins.module_utils.known_troubles import likely_causes
from ansible_collections.kubestead.homelab.plugins.module_utils.leftovers import Host
from ansible_collections.kubestead.homelab.plugins.module_utils.redacting import redact, redact_all


def main() -> None:
    """Collect, think, pack."""
    module = AnsibleModule(
        argument_spec={
            "host": {"type": "str"},
            "dest": {"type": "path"},
            "cri_socket": {"type": "str", "default": "unix:///var/run/containerd/containerd.sock"},
            "since": {"type": "str", "default": "-45min"},
            "failure": {"type": "dict"},
            "failure_text": {"type": "str", "default": ""},
            "controller_time": {"type": "float"},
        },
        supports_check_mode=True,
    )
    given = module.params
    name = given["host"] or "this machine"
    host = Host(cri_socket=given["cri_socket"])
    collector = Collector(host, name, given["since"])
    collector.collect(redact(given["failure_text"]), given["controller_time"])
    collector.texts.update(redact_all(api_texts(host)))
    facts = collector.facts
    findings = likely_causes(facts, collector.texts)
    told = lines(name, findings, facts)
    result = {
        "changed": False,
        "state": facts.state,
        "in_trouble": facts.in_trouble,
        "findings": [finding.as_dict() for finding in findings],
        "lines": told,
    }
    if given["dest"]:
        texts = {
            **collector.texts,
            "summary": "\n".join(told) + "\n",
            "facts.json": redact(json.dumps(asdict(facts), indent=2)) + "\n",
        }
        result["packed"] = base64.b64encode(pack(name, texts)).decode("ascii")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
