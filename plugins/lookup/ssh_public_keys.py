# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lookup `ssh_public_keys`."""

from __future__ import annotations

DOCUMENTATION = r"""
name: ssh_public_keys
short_description: The public keys that Ansible logs in with
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Asks C(ssh), with the settings that Ansible gives it for a host, which keys it would offer there, and
    gives their public halves. So who is let in by them lets in the one who runs the playbook.
  - Keys of files come first, then those of the agent. Of a private key without a C(.pub) file beside it the
    public half is worked out, unless it has a passphrase.
options:
  _terms:
    description: Hosts as ssh would be given them. Without one, the host that the task is for.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Show them
  ansible.builtin.debug:
    msg: "{{ query('kubestead.homelab.ssh_public_keys') }}"
"""

RETURN = r"""
_raw:
  description: The keys, each once; none where there are none.
  type: list
  elements: str
"""

import shlex
import typing as t

from ansible import constants
from ansible.errors import AnsibleLookupError
from ansible.plugins.loader import connection_loader
from ansible.plugins.lookup import LookupBase
from ansible_collections.kubestead.homelab.plugins.module_utils.ssh_keys import NoSshError, offered_keys

_WORDS = ("ssh_args", "ssh_common_args", "ssh_extra_args")


class LookupModule(LookupBase):
    """Finds keys."""

    def run(
        self, terms: t.List[t.Any], variables: t.Optional[t.Mapping[str, t.Any]] = None, **kwargs: t.Any
    ) -> t.List[str]:
        """Give the keys."""
        self.set_options(var_options=variables, direct=kwargs)
        known = {
            name: self._templar.template(value)
            for name, value in (variables or {}).items()
            if name.startswith("ansible_") and name.endswith(("_file", "_args", "_host"))
        }
        host = str(known.get("ansible_host") or (variables or {}).get("inventory_hostname") or "localhost")
        connection_loader.get("ssh", class_only=True)  # its options are not known before

        def option(name: str) -> str:
            value = constants.config.get_config_value(
                name, plugin_type="connection", plugin_name="ssh", variables=known
            )
            return str(value or "")

        words = [word for name in _WORDS for word in shlex.split(option(name))]
        try:
            keys = [
                key
                for each in terms or [host]
                for key in offered_keys(str(each), words, option("private_key_file"))
            ]
        except NoSshError as error:
            raise AnsibleLookupError(str(error)) from error
        return list(dict.fromkeys(keys))
