#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_claim
short_description: Claim what may be done only once, such as initialising a cluster
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Whoever takes a claim first holds it for good; all others learn who does. A claim does not pass to another
    by time, only by O(force), which raises its epoch.
  - The holder completes it when the thing is done, and leaves what others need to know of it.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.changes
  - kubestead.homelab.state_api
  - kubestead.homelab.state_api.module
options:
  name:
    description: The name of the claim, for a cluster the cluster's.
    type: str
    required: true
  action:
    description:
      - V(take) takes the claim for O(holder), or finds that it has it already.
      - V(complete) says that what was claimed is done.
      - V(read) tells who holds it.
      - V(release) lets go of it, whoever holds it, since what was done is no more. The next one to ask gets
        it.
    type: str
    choices: [take, complete, read, release]
    default: take
  holder:
    description: The machine that claims, by host name or MAC address, always in the same way.
    type: str
  data:
    description: For O(action=complete), what others need to know, anything that JSON can say.
    type: raw
  epoch:
    description:
      - For O(action=complete), the epoch in which the holder took the claim. Without it, the present one.
    type: int
  force:
    description:
      - For O(action=take), take the claim from another holder. Only where that one is gone for good, or there
        will be two clusters.
    type: bool
    default: false
  taken_is_failure:
    description: For O(action=take), whether it is a failure when another holds the claim; else see RV(held).
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: The first to come initialises the cluster
  kubestead.homelab.cluster_claim:
    name: homelab
    holder: "{{ inventory_hostname }}"
    taken_is_failure: false
  delegate_to: localhost
  register: claim

- name: It has been done
  kubestead.homelab.cluster_claim:
    name: homelab
    action: complete
    holder: "{{ inventory_hostname }}"
    epoch: "{{ claim.claim.epoch }}"
    data:
      endpoint: 10.0.0.11:6443
  delegate_to: localhost
  when: claim.held

- name: It is no more
  kubestead.homelab.cluster_claim:
    name: homelab
    action: release
  delegate_to: localhost

- name: Where is the cluster
  kubestead.homelab.cluster_claim:
    name: homelab
    action: read
  delegate_to: localhost
  register: claim
"""

RETURN = r"""
claim:
  description: The claim as it is, or in check mode would be; nothing when nobody has taken it.
  returned: always
  type: dict
  sample:
    name: homelab
    holder: cp-1
    epoch: 1
    state: initialized
    data: {endpoint: "10.0.0.11:6443"}
    claimed_at: "2026-11-21T15:57:35.123Z"
    initialized_at: "2026-11-21T15:59:02.001Z"
held:
  description: Whether O(holder) holds the claim.
  returned: always
  type: bool
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils.mac import is_mac, normalise_mac
from ansible_collections.kubestead.homelab.plugins.module_utils.state_api_client import (
    StateApiClient,
    StateApiError,
    StateApiRefusedError,
)
from ansible_collections.kubestead.homelab.plugins.module_utils.state_api_module import (
    connected,
    fail,
    with_api,
)

NOT_FOUND = 404
CONFLICT = 409


def look(client: StateApiClient, name: str) -> "dict[str, Any] | None":
    """The claim, or None when nobody has taken it."""
    try:
        claim: dict[str, Any] = client.claim(name)
    except StateApiRefusedError as error:
        if error.status != NOT_FOUND:
            raise
        return None
    return claim


def holds(holder: "str | None", claim: "dict[str, Any] | None") -> bool:
    """Whether a machine holds a claim, in whatever notation its MAC address is."""
    if holder is None or claim is None:
        return False
    return _plain(holder) == _plain(claim["holder"])


def _plain(holder: str) -> str:
    return normalise_mac(holder) if is_mac(holder) else holder.lower()


def taken(claim: "dict[str, Any]") -> str:
    """Who has it, in a sentence."""
    done = "has done it" if claim["state"] == "initialized" else "has not finished yet"
    return (
        f"{claim['holder']} holds the claim {claim['name']} since {claim['claimed_at']} "
        f"(epoch {claim['epoch']}) and {done}"
    )


def take(module: AnsibleModule, client: StateApiClient, before: "dict[str, Any] | None") -> Any:
    """The claim afterwards; the same when there is nothing to do, or nothing to get."""
    name, holder, force = (module.params[option] for option in ("name", "holder", "force"))
    if before is not None and (holds(holder, before) or not force):
        return before
    if module.check_mode:
        epoch = before["epoch"] + 1 if before else 1
        return {"name": name, "holder": holder, "epoch": epoch, "state": "claimed", "data": None}
    if before is not None:
        return client.force_claim(name, holder)
    try:
        return client.take_claim(name, holder)
    except StateApiRefusedError as error:
        # Another was faster, just now.
        claim = error.answer.get("claim") if isinstance(error.answer, dict) else None
        if error.status != CONFLICT or claim is None:
            raise
        return claim


def complete(module: AnsibleModule, client: StateApiClient, before: "dict[str, Any] | None") -> Any:
    """The claim afterwards."""
    name, holder, data, epoch = (module.params[option] for option in ("name", "holder", "data", "epoch"))
    if before is None:
        raise StateApiError(f"nobody has taken the claim {name}: take it first")
    if not holds(holder, before):
        raise StateApiError(f"{taken(before)}; {holder} cannot complete it")
    if epoch is not None and epoch != before["epoch"]:
        raise StateApiError(
            f"{holder} took the claim {name} in epoch {epoch}, but it has been taken anew since: "
            f"it is epoch {before['epoch']} now"
        )
    if before["state"] == "initialized":
        if before["data"] == data:
            return before
        raise StateApiError(f"the claim {name} has been completed for good, with other data than these")
    if module.check_mode:
        return {**before, "state": "initialized", "data": data}
    return client.complete_claim(name, before["holder"], before["epoch"], data)


def release(module: AnsibleModule, client: StateApiClient, before: "dict[str, Any] | None") -> None:
    """Let go of it; who was faster has done the same."""
    if before is None or module.check_mode:
        return
    try:
        client.release_claim(before["name"], before["epoch"])
    except StateApiRefusedError as error:
        if error.status != NOT_FOUND:
            raise


def main() -> None:
    """Look, act, tell."""
    module = AnsibleModule(
        argument_spec=with_api(
            name={"type": "str", "required": True},
            action={"type": "str", "choices": ["take", "complete", "read", "release"], "default": "take"},
            holder={"type": "str"},
            data={"type": "raw"},
            epoch={"type": "int"},
            force={"type": "bool", "default": False},
            taken_is_failure={"type": "bool", "default": True},
        ),
        required_if=[["action", "take", ["holder"]], ["action", "complete", ["holder"]]],
        supports_check_mode=True,
    )
    action, holder = module.params["action"], module.params["holder"]
    before: Any = None
    after: Any = None
    with connected(module) as client:
        before = after = look(client, module.params["name"])
        if action == "take":
            after = take(module, client, before)
        elif action == "complete":
            after = complete(module, client, before)
        elif action == "release":
            release(module, client, before)
            after = None
        if action == "take" and module.params["taken_is_failure"] and not holds(holder, after):
            fail(module, StateApiError(f"{taken(after)}, not {holder}"), claim=after, held=False)
    changed = after != before and (action != "take" or holds(holder, after))
    result: dict[str, Any] = {"changed": changed, "claim": after, "held": holds(holder, after)}
    if module._diff and changed:
        result["diff"] = {"before": before or {}, "after": after or {}}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
