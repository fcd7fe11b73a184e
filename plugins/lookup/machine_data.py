# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lookup `machine_data`."""

from __future__ import annotations

DOCUMENTATION = r"""
name: machine_data
short_description: Values that the State API keeps of a machine
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Gives what the machine itself, a run or M(kubestead.homelab.machine_data) has left in the State API.
  - The State API is found by the options, else by the first host of the inventory's group C(state_api).
extends_documentation_fragment:
  - kubestead.homelab.state_api
  - kubestead.homelab.state_api.plugin
options:
  _terms:
    description: The keys of the values.
    type: list
    elements: str
    required: true
  machine:
    description:
      - The machine, by host name, or by MAC address in any notation.
      - Without it, the one that the task runs for, if it is one of the registry's.
    type: str
    vars:
      - name: machine_mac
  default:
    description: What to give for a key that has no value. Without it, that is an error.
    type: raw
"""

EXAMPLES = r"""
- name: What did the burn-in find
  ansible.builtin.debug:
    msg: "{{ lookup('kubestead.homelab.machine_data', 'burn-in', machine='worker-3').memory }}"

- name: Of the machine at hand, if there is anything
  ansible.builtin.debug:
    msg: "{{ lookup('kubestead.homelab.machine_data', 'burn-in', default={}) }}"
"""

RETURN = r"""
_raw:
  description: The values.
  type: list
  elements: raw
"""

import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.kubestead.homelab.plugins.module_utils.mac import is_mac, normalise_mac
from ansible_collections.kubestead.homelab.plugins.module_utils.state_api_client import (
    StateApiClient,
    StateApiError,
    StateApiRefusedError,
)
from ansible_collections.kubestead.homelab.plugins.module_utils.state_api_machines import find_mac
from ansible_collections.kubestead.homelab.plugins.plugin_utils.state_api import connect, option_variables
from ansible_collections.kubestead.homelab.plugins.plugin_utils.unsafe import make_unsafe

_NOT_FOUND = 404


class LookupModule(LookupBase):
    """Reads values."""

    def run(
        self, terms: t.List[t.Any], variables: t.Optional[t.Mapping[str, t.Any]] = None, **kwargs: t.Any
    ) -> t.List[t.Any]:
        """Give the values."""
        variables = variables or {}
        self.set_options(var_options=option_variables(variables, self._templar), direct=kwargs)
        name = self.get_option("machine")
        if not name:
            raise AnsibleLookupError("machine is not set, and this host is none of the registry's machines")
        try:
            client = connect(self, variables)
            try:
                mac = normalise_mac(name) if is_mac(name) else find_mac(client.machines(), name)
                return [
                    make_unsafe(self._value(client, mac, str(term), "default" in kwargs)) for term in terms
                ]
            finally:
                client.close()
        except StateApiError as error:
            raise AnsibleLookupError(str(error)) from None

    def _value(self, client: StateApiClient, mac: str, key: str, has_default: bool) -> t.Any:
        try:
            return client.data(mac, key)["value"]
        except StateApiRefusedError as error:
            if error.status == _NOT_FOUND and has_default:
                return self.get_option("default")
            raise
