#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: managed_files
short_description: Several configuration files in one round trip
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Writes files whose content the controller has rendered, makes their folders, and removes files that
    belong to the same
    software and are no longer wanted. All of it in one round trip, however many files they are.
  - Nothing is touched unless every file that has a O(files[].validate) command passes it.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.changes
options:
  files:
    description: The files, owned by root.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Where it goes.
        type: path
        required: true
      content:
        description: Its whole text.
        type: str
        required: true
      mode:
        description: Its permissions, as an octal text.
        type: str
        default: "0644"
      keep:
        description: Another program writes it too, so that it is left alone where it is there already.
        type: bool
        default: false
      secret:
        description: Its text is kept out of differences.
        type: bool
        default: false
      validate:
        description:
          - A command that says whether the new text is right, with C(%s) where the name of a file with that
            text goes.
          - In check mode it is left out when its program is not on the machine yet.
        type: str
      validate_text:
        description:
          - The text that is checked in the place of O(files[].content), where that includes another file
            which may not be there yet.
        type: str
      validate_in:
        description:
          - The folder for that file, where AppArmor lets its program read nothing elsewhere. If it is not
            there, the usual one for temporary files.
        type: path
  prune:
    description:
      - Folders in which files that are not in O(files) are removed, if their first line contains O(marker).
      - What others have written there stays.
    type: list
    elements: path
    default: []
  marker:
    description: What the first line of a file of ours contains.
    type: str
    default: Managed by kubestead.homelab
"""

EXAMPLES = r"""
- name: Configure containerd
  kubestead.homelab.managed_files:
    files:
      - path: /etc/containerd/config.toml
        content: "{{ lookup('ansible.builtin.template', 'config.toml.j2') }}"
        validate: containerd -c %s config dump
      - path: /etc/containerd/certs.d/_default/hosts.toml
        content: "{{ lookup('ansible.builtin.template', 'hosts.toml.j2') }}"
    prune: [/etc/containerd/certs.d]
  notify: Restart containerd
"""

RETURN = r"""
paths:
  description: Files that were, or in check mode would be, written, removed or given other permissions.
  returned: always
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils.file_set import (
    FILE_OPTIONS,
    MARKER,
    FileSet,
)


def main() -> None:
    """Compare, validate, then write."""
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "list", "elements": "dict", "required": True, "options": FILE_OPTIONS},
            "prune": {"type": "list", "elements": "path", "default": []},
            "marker": {"type": "str", "default": MARKER},
        },
        supports_check_mode=True,
    )
    given = module.params
    files = FileSet(module, given["files"], given["prune"], given["marker"])
    if files.problems:
        module.fail_json(msg="\n".join([*files.problems, "Nothing was changed."]), paths=[])
    files.write()
    result: dict[str, Any] = {"changed": bool(files.paths), "paths": files.paths}
    if module._diff:
        result["diff"] = files.diff
    module.exit_json(**result)


if __name__ == "__main__":
    main()
