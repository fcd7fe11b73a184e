#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cri_info
short_description: Ask a container runtime who it is and whether it is ready
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Makes two real calls (C(Version) and C(Status)) to the container runtime interface, version V(v1), at
    its socket.
    It needs no crictl and no library.
  - Waits until the runtime is ready, and fails when it is not in time. In check mode a runtime that does
    not answer
    is reported, not an error, for it may not have been installed yet.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.reads
options:
  socket:
    description: The runtime's socket; C(unix://) before it is accepted.
    type: str
    default: /run/containerd/containerd.sock
  wait:
    description: How many seconds it may take to become ready.
    type: int
    default: 30
"""

EXAMPLES = r"""
- name: The container runtime answers
  kubestead.homelab.cri_info:
    socket: /run/containerd/containerd.sock
"""

RETURN = r"""
ready:
  description: Whether it can run containers.
  returned: always
  type: bool
name:
  description: The runtime's name.
  returned: when it answers
  type: str
  sample: containerd
version:
  description: The runtime's version.
  returned: when it answers
  type: str
  sample: 1.7.24~ds1
api_version:
  description: The version of the interface.
  returned: when it answers
  type: str
  sample: v1
conditions:
  description: Its conditions. C(NetworkReady) comes with the pod network.
  returned: when it answers
  type: dict
  sample: {RuntimeReady: true, NetworkReady: false}
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils import cri
from ansible_collections.kubestead.homelab.plugins.module_utils.grpc_unary import GrpcError

POLL_SECONDS = 0.2


def probe(socket: str) -> "tuple[dict[str, Any], str]":
    """What it says, and nothing or a sentence about what is wrong."""
    try:
        runtime = cri.ask(socket)
    except FileNotFoundError:
        return {"ready": False}, f"{socket} does not exist: is the container runtime installed and running?"
    except (OSError, GrpcError) as error:
        told = f"{socket} does not answer as a container runtime: {error}."
        return {"ready": False}, f"{told} Is its CRI plugin disabled in its configuration?"
    shown = ("ready", "name", "version", "api_version", "conditions")
    said: dict[str, Any] = {name: getattr(runtime, name) for name in shown}
    why = runtime.reasons.get("RuntimeReady", "it does not say why")
    return said, "" if runtime.ready else f"{runtime.name} {runtime.version} is not ready: {why}."


def main() -> None:
    """Ask until it is ready or the time is over."""
    module = AnsibleModule(
        argument_spec={
            "socket": {"type": "str", "default": "/run/containerd/containerd.sock"},
            "wait": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    socket = module.params["socket"]
    if socket.startswith("unix://"):
        socket = socket[len("unix://") :]
    end = time.monotonic() + (0 if module.check_mode else module.params["wait"])
    said, problem = probe(socket)
    while problem and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
        said, problem = probe(socket)
    if problem and not module.check_mode:
        module.fail_json(msg=f"{problem} See: journalctl -u containerd (or your runtime's unit).", **said)
    if problem:
        module.warn(problem)
    module.exit_json(changed=False, **said)


if __name__ == "__main__":
    main()
