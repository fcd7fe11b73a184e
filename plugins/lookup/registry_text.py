# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lookup `registry_text`."""

from __future__ import annotations

DOCUMENTATION = r"""
name: registry_text
short_description: The text of a machine registry, checked
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Reads registries on the controller and gives their text as JSON, in the order of the file and with its
    unknown keys.
  - A registry with problems is an error that names all of them.
options:
  _terms:
    description: The registry files, JSON or YAML.
    type: list
    elements: path
    required: true
"""

EXAMPLES = r"""
- name: Push the registry
  ansible.builtin.copy:
    content: "{{ lookup('kubestead.homelab.registry_text', 'inventory/lab/registry.json') }}"
    dest: /srv/http/machines/registry.json
    mode: "0644"
"""

RETURN = r"""
_raw:
  description: The text of each registry.
  type: list
  elements: str
"""

import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.kubestead.homelab.plugins.module_utils.problems import RegistryError
from ansible_collections.kubestead.homelab.plugins.module_utils.registry import Registry
from ansible_collections.kubestead.homelab.plugins.module_utils.registry_file import (
    is_yaml,
    read_text,
    render,
)


class LookupModule(LookupBase):
    """Reads and checks registries."""

    def run(
        self, terms: t.List[t.Any], variables: t.Optional[t.Mapping[str, t.Any]] = None, **kwargs: t.Any
    ) -> t.List[str]:
        """Give the texts."""
        self.set_options(var_options=variables, direct=kwargs)
        return [self._text(str(term)) for term in terms]

    @staticmethod
    def _text(path: str) -> str:
        try:
            text = read_text(path)
            registry = Registry.parse(text, path)
        except RegistryError as error:
            raise AnsibleLookupError(str(error)) from error
        return render(registry.content(), "registry.json") if is_yaml(path) else text
