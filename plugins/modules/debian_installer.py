#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: debian_installer
short_description: Kernel and initrd of Debian's installer, for network boot
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Takes them from the package C(debian-installer-RELEASE-netboot-ARCHITECTURE) of a Debian archive. Any
    release's can be had on any machine with apt and Debian's keys; no package is installed, and the machine's
    own sources stay as they are.
  - apt checks the archive's signature.
  - Each run asks the archive for its version, and fetches that if it is another one. An installer fits only
    the archive of its time.
extends_documentation_fragment:
  - kubestead.homelab.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  release:
    description: Debian's release.
    type: str
    required: true
    choices: ["12", "13"]
  architecture:
    description: The processor architecture of the machines to install, by Debian's name.
    type: str
    default: amd64
    choices: [amd64, arm64]
  dest:
    description: The folder in which C(linux), C(initrd.gz) and C(version) are put.
    type: path
    required: true
  mirror:
    description: The address of the archive, such as V(http://mirror.example/debian).
    type: str
    required: true
  keyring:
    description: The file with the keys that the archive is signed with.
    type: path
    default: /usr/share/keyrings/debian-archive-keyring.gpg
  cache:
    description: A folder for what apt knows of the archive.
    type: path
    default: /var/cache/kubestead/installers
"""

EXAMPLES = r"""
- name: The installer of Debian 13
  kubestead.homelab.debian_installer:
    release: "13"
    mirror: http://mirror.example/debian
    dest: /srv/http/boot/installers/debian-13-amd64
"""

RETURN = r"""
version:
  description: The version that is there now, or in check mode would be.
  returned: always
  type: str
  sample: 20250803+deb13u7
before:
  description: The version that was there before. Empty if there was none.
  returned: always
  type: str
  sample: ""
"""

import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils.debian_installer import (
    SUITES,
    InstallerError,
    Source,
    present,
)
from ansible_collections.kubestead.homelab.plugins.module_utils.machine import ARCHITECTURES


def main() -> None:
    """Compare, and fetch what is another version."""
    module = AnsibleModule(
        argument_spec={
            "release": {"type": "str", "required": True, "choices": list(SUITES)},
            "architecture": {"type": "str", "default": "amd64", "choices": list(ARCHITECTURES)},
            "dest": {"type": "path", "required": True},
            "mirror": {"type": "str", "required": True},
            "keyring": {"type": "path", "default": "/usr/share/keyrings/debian-archive-keyring.gpg"},
            "cache": {"type": "path", "default": "/var/cache/kubestead/installers"},
        },
        supports_check_mode=True,
    )
    given = module.params
    for program in ("apt-get", "dpkg-deb"):
        if not module.get_bin_path(program):
            module.fail_json(
                msg="debian_installer needs {0}, which this machine does not have.".format(program)
            )
    dest = Path(given["dest"])
    before = present(dest)
    with tempfile.TemporaryDirectory() as scratch:
        # In check mode nothing is left behind.
        cache = Path(scratch) if module.check_mode else Path(given["cache"]) / SUITES[given["release"]]
        source = Source(
            given["mirror"].rstrip("/"), given["release"], given["architecture"], cache, given["keyring"]
        )
        try:
            version = source.refresh()
            if version != before and not module.check_mode:
                source.extract(dest)
        except (InstallerError, OSError) as error:
            module.fail_json(msg="Debian's installer {0}: {1}".format(given["release"], error))
    module.exit_json(changed=version != before, version=version, before=before)


if __name__ == "__main__":
    main()
