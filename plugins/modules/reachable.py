#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: reachable
short_description: Ask on a machine whether addresses answer
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Asks all addresses at once, from the machine itself, in one round trip. Fails with all that do not
    answer, what each of
    them said, and what to set.
  - Can wait for a bundle that is still being built.
  - Proxies are taken from the options, else from the machine's environment.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.reads
options:
  urls:
    description: What has to answer.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: What it is, in a person's words.
        type: str
        required: true
      url:
        description: The address, C(http) or C(https).
        type: str
        required: true
      status:
        description: The answers that say that it is there.
        type: list
        elements: int
        default: [200]
  status_url:
    description:
      - Where a bundle says how it is, as JSON with C(state) (V(ready), V(building), V(absent), V(failed)),
        C(progress), C(detail) and C(minors), those that it has whole.
      - Where there is no such page the addresses themselves decide.
    type: str
  minor:
    description: The Kubernetes minor that is wanted. A bundle that has it is not waited for while another one
      is being built into it.
    type: str
    default: ""
  wait:
    description: How many seconds to wait while the bundle is being built.
    type: int
    default: 0
  timeout:
    description: How many seconds one address may take to answer.
    type: int
    default: 10
  http_proxy:
    description: Proxy for HTTP.
    type: str
  https_proxy:
    description: Proxy for HTTPS.
    type: str
  no_proxy:
    description: Hosts that are asked without a proxy, comma separated.
    type: str
  remedy:
    description: What to do when something is missing; the last sentence of the error.
    type: str
    default: ""
  failure:
    description: A word for programs, handed back as RV(kubestead_failure) when something does not answer.
    type: str
"""

EXAMPLES = r"""
- name: The mirror can be reached from here
  kubestead.homelab.reachable:
    urls:
      - name: packages
        url: http://mirror.example/apt/InRelease
      - name: images
        url: http://mirror.example/v2/
        status: [200, 401]
    remedy: Set mirror_url to an address that the machines reach.
"""

RETURN = r"""
answers:
  description: What each address answered.
  returned: always
  type: list
  elements: dict
  sample: [{name: images, url: "http://mirror.example/v2/", reached: true, detail: HTTP 401}]
bundle:
  description: What the bundle said of itself at the end.
  returned: when O(status_url) is given
  type: dict
kubestead_failure:
  description: O(failure), when something does not answer.
  returned: failure
  type: str
  sample: software_unreachable
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils import reachability

BUNDLE_PROBLEMS = {
    "building": "the bundle is still being built",
    "absent": "there is no bundle there yet",
    "failed": "the bundle could not be made",
    "unreachable": "nobody answers there",
}


def main() -> None:
    """Wait for the bundle where one is meant, then ask all addresses."""
    module = AnsibleModule(
        argument_spec={
            "urls": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "url": {"type": "str", "required": True},
                    "status": {"type": "list", "elements": "int", "default": [200]},
                },
            },
            "status_url": {"type": "str"},
            "minor": {"type": "str", "default": ""},
            "wait": {"type": "int", "default": 0},
            "timeout": {"type": "int", "default": 10},
            "http_proxy": {"type": "str"},
            "https_proxy": {"type": "str"},
            "no_proxy": {"type": "str"},
            "remedy": {"type": "str", "default": ""},
            "failure": {"type": "str"},
        },
        supports_check_mode=True,
    )
    options = module.params
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        if options[name]:
            os.environ[name] = options[name]

    result: dict[str, Any] = {"changed": False, "answers": []}
    problems: list[str] = []
    if options["status_url"]:
        state = reachability.await_bundle(
            options["status_url"], options["timeout"], options["wait"], options["minor"]
        )
        result["bundle"] = state
        if state["state"] in BUNDLE_PROBLEMS:
            told = "; ".join(text for text in (state.get("progress"), state.get("detail")) if text)
            problems.append(
                f"{options['status_url']}: {BUNDLE_PROBLEMS[state['state']]}" + (f": {told}" if told else "")
            )
    if not problems:
        targets = [
            reachability.Target(entry["name"], entry["url"], tuple(entry["status"]))
            for entry in options["urls"]
        ]
        answers = reachability.ask_all(targets, options["timeout"])
        result["answers"] = [
            {
                "name": answer.target.name,
                "url": answer.target.url,
                "reached": answer.reached,
                "detail": answer.detail,
            }
            for answer in answers
        ]
        problems = [answer.sentence() for answer in answers if not answer.reached]
    if problems:
        if options["failure"]:
            result["kubestead_failure"] = options["failure"]
        lines = ["Not to be reached from this machine:", *(f"- {problem}" for problem in problems)]
        module.fail_json(msg="\n".join([*lines, options["remedy"]]).rstrip(), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
