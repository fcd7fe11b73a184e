# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""cluster_preflight: checks what an inventory says of a cluster, where the inventory is."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase
from ansible_collections.kubestead.homelab.plugins.module_utils.address_ranges import (
    Checked,
    as_list,
    check_machines,
    check_ranges,
    check_sizes,
    load_balancer_networks,
)
from ansible_collections.kubestead.homelab.plugins.module_utils.cluster_inputs import (
    RUNTIMES,
    check_kubernetes,
    check_pairs,
    check_pod_network,
    check_required,
    check_runtimes,
)

ARGUMENTS: t.Dict[str, t.Dict[str, t.Any]] = {
    "control_planes": {"type": "list", "elements": "str", "required": True},
    "workers": {"type": "list", "elements": "str", "default": []},
    "names": {"type": "dict", "default": {}},
    "addresses": {"type": "dict", "default": {}},
    "pod_subnet": {"type": "str", "required": True},
    "service_subnet": {"type": "str", "required": True},
    "ranges": {"type": "dict", "default": {}},
    "load_balancer_ranges": {"type": "list", "elements": "str", "default": []},
    "kubernetes": {"type": "str", "default": ""},
    "minor": {"type": "str", "default": ""},
    "minors": {"type": "list", "elements": "str", "default": []},
    "runtimes": {"type": "dict", "default": {}},
    "programs": {"type": "dict", "default": {}},
    "pod_network": {"type": "str", "default": "flannel"},
    "further": {"type": "list", "elements": "str", "default": []},
    "required": {"type": "dict", "default": {}},
    "reasons": {"type": "dict", "default": {}},
}


def check(given: t.Mapping[str, t.Any]) -> Checked:
    """Check everything that the options say."""
    addresses, control_planes = given["addresses"], given["control_planes"]
    checked = check_machines(control_planes, given["workers"], given["names"], addresses)
    problems = checked.problems
    balanced, wrong = load_balancer_networks(given["load_balancer_ranges"])
    problems += wrong
    ranges = {
        "the pod range": given["pod_subnet"],
        "the service range": given["service_subnet"],
        **given["ranges"],
        **balanced,
    }
    problems += check_ranges(ranges, addresses)
    machines = len(control_planes) + len(given["workers"])
    problems += check_sizes(given["pod_subnet"], given["service_subnet"], machines)
    problems += given["further"]
    problems += check_pod_network(given["pod_network"])
    problems += check_runtimes(given["runtimes"])
    problems += check_required(given["required"], given["reasons"])
    if given["kubernetes"] or given["minor"]:
        problems += check_kubernetes(given["kubernetes"], given["minor"], given["minors"])
        unused = set(RUNTIMES) - set(given["runtimes"].values()) if given["runtimes"] else set()
        programs = {name: str(text) for name, text in given["programs"].items() if name not in unused}
        pairs = check_pairs(given["kubernetes"], programs)
        problems += pairs.problems
        checked.warnings += pairs.warnings
    return checked


class ActionModule(ActionBase):
    """Asks no machine."""

    _requires_connection = False

    def run(self, tmp: t.Any = None, task_vars: t.Any = None) -> t.Dict[str, t.Any]:
        """Check everything and fail with all of it."""
        result: t.Dict[str, t.Any] = super().run(tmp, task_vars)
        _validated, given = self.validate_argument_spec(argument_spec=ARGUMENTS)
        checked = check(given)
        result.update(changed=False, problems=checked.problems)
        if checked.warnings:
            result["warnings"] = checked.warnings
        if checked.problems:
            result["failed"] = True
            result["msg"] = f"Nothing was touched. To be put right first:{as_list(checked.problems)}"
        return result
