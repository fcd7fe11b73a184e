# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lookup `machine`."""

from __future__ import annotations

DOCUMENTATION = r"""
name: machine
short_description: What the registry says of a machine
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Gives the record of each machine, as the inventory plugin C(kubestead.homelab.registry) reads it, from a
    registry file on the controller or from the State API.
  - How a machine is, rather than what it is to be, M(kubestead.homelab.machine_info) tells.
  - The State API is found by the options, else by the first host of the inventory's group C(state_api).
extends_documentation_fragment:
  - kubestead.homelab.state_api
  - kubestead.homelab.state_api.plugin
options:
  _terms:
    description: The machines, by host name, or by MAC address in any notation.
    type: list
    elements: str
    required: true
  registry:
    description:
      - A registry file, JSON or YAML, to read instead of asking the State API.
      - The State API keeps to itself what in a record may be a secret, and C(bmc).
    type: path
    env:
      - name: KUBESTEAD_REGISTRY
    vars:
      - name: kubestead_registry
"""

EXAMPLES = r"""
- name: Where is the first control plane
  ansible.builtin.debug:
    msg: "{{ lookup('kubestead.homelab.machine', 'cp-1').ip }}"

- name: The same from the file that git keeps
  ansible.builtin.debug:
    msg: "{{ lookup('kubestead.homelab.machine', '52-54-00-77-00-11', registry=file).ip }}"
  vars:
    file: inventory/lab/registry.json
"""

RETURN = r"""
_raw:
  description:
    - The records. Keys that the registry does not give are there with the value that then counts, or not
      at all.
  type: list
  elements: dict
  sample:
    - mac: 52:54:00:77:00:11
      hostname: cp-1
      role: control-plane
      architecture: amd64
      features: [kubernetes]
      ip: 10.0.0.11
      cluster: homelab
      distribution: kubeadm
      locked: false
"""

import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.kubestead.homelab.plugins.module_utils.registry import Registry, RegistryError
from ansible_collections.kubestead.homelab.plugins.module_utils.state_api_client import StateApiError
from ansible_collections.kubestead.homelab.plugins.module_utils.state_api_machines import find_mac
from ansible_collections.kubestead.homelab.plugins.plugin_utils.state_api import connect, option_variables
from ansible_collections.kubestead.homelab.plugins.plugin_utils.unsafe import make_unsafe


class LookupModule(LookupBase):
    """Finds machines."""

    def run(
        self, terms: t.List[t.Any], variables: t.Optional[t.Mapping[str, t.Any]] = None, **kwargs: t.Any
    ) -> t.List[t.Any]:
        """Give the records."""
        variables = variables or {}
        self.set_options(var_options=option_variables(variables, self._templar), direct=kwargs)
        names = [str(term) for term in terms]
        path = self.get_option("registry")
        try:
            records = self._from_file(path, names) if path else self._from_api(names, variables)
        except (RegistryError, StateApiError) as error:
            raise AnsibleLookupError(str(error)) from None
        return [make_unsafe(record) for record in records]

    @staticmethod
    def _from_file(path: str, names: t.Sequence[str]) -> t.List[t.Any]:
        registry = Registry.load(path)
        records = []
        for name in names:
            machine = registry.find(name)
            if machine is None:
                raise AnsibleLookupError(f"{path}: there is no machine {name}")
            records.append(machine.as_dict())
        return records

    def _from_api(self, names: t.Sequence[str], variables: t.Mapping[str, t.Any]) -> t.List[t.Any]:
        client = connect(self, variables)
        try:
            views = client.machines()
            return [client.config(find_mac(views, name)) for name in names]
        finally:
            client.close()
