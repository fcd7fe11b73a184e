#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: state_api_program
short_description: Install the kubestead program in a virtual environment of its own
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Builds the program's wheel on the controller, sends it with its locked requirements in one archive, and
    installs it on the host in O(path)C(/releases/…), a folder named after the hash of the sources and the
    host's Python.
  - C(current) in O(path) then points to it. The release before it stays, older ones are removed.
  - A second run is one round trip, and the controller builds nothing. An installation that was interrupted is
    recognised and made anew.
  - The controller needs hatchling and pip in Ansible's Python. The host needs Python 3.11 or newer, but no
    package for pip or for virtual environments.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.changes
options:
  path:
    description: The folder on the host.
    type: path
    default: /opt/kubestead/state-api
  cache:
    description: The folder on the controller where wheels are kept.
    type: str
    required: true
  wheels_from:
    description:
      - Where the host's wheels of the requirements come from.
      - With V(index) the host's pip fetches them, as it is configured there.
      - With V(controller) the controller's pip fetches those that fit the host, and they are sent along.
    type: str
    choices: [index, controller]
    default: index
  program_id:
    description: The hash of the program's sources. Set by the action plugin.
    type: str
  archive:
    description: The archive on the host. Set by the action plugin.
    type: path
"""

EXAMPLES = r"""
- name: Install the State API's program
  kubestead.homelab.state_api_program:
    cache: ~/.cache/kubestead
    wheels_from: controller
"""

RETURN = r"""
release:
  description: The folder on the host that holds the virtual environment.
  returned: success
  type: str
  sample: /opt/kubestead/state-api/releases/3f786850e387550f-py3.13
python:
  description: The version of the host's Python.
  returned: success
  type: str
  sample: "3.13"
machine:
  description: The host's machine as C(uname -m) says it.
  returned: success
  type: str
  sample: x86_64
needs_archive:
  description: Whether the program is still to be installed. False, but in check mode.
  returned: success
  type: bool
"""

import hashlib
import os
import platform
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

MARKER = ".complete"
OLDEST_PYTHON = (3, 11)


class Installation:
    """The program's place on this host."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.root = Path(module.params["path"])
        self.python = "{}.{}".format(*sys.version_info[:2])
        self.release = self.root / "releases" / f"{module.params['program_id'][:16]}-py{self.python}"
        self.current = self.root / "current"

    def previous(self) -> "Path | None":
        """The release in force, whichever it is."""
        return Path(os.readlink(self.current)) if self.current.is_symlink() else None

    def complete(self) -> bool:
        """Whether this release is installed to its end and in force."""
        marker = self.release / MARKER
        return marker.is_file() and self.previous() == self.release

    def install(self, archive: str) -> None:
        """Make the release from its archive, and put it in force."""
        previous = self.previous()
        os.umask(0o022)
        if not (self.release / MARKER).is_file():
            if self.release.exists():
                shutil.rmtree(self.release)
            self.release.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.module.tmpdir) as folder:
                self._fill(Path(folder), archive)
        fresh = self.root / "current.new"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(self.release)
        fresh.replace(self.current)
        for other in self.release.parent.iterdir():
            if other not in (self.release, previous):
                shutil.rmtree(other)

    def _fill(self, folder: Path, archive: str) -> None:
        with tarfile.open(archive) as packed:
            for member in packed:
                content = packed.extractfile(member) if "/" not in member.name else None
                if content is not None:
                    (folder / member.name).write_bytes(content.read())
        pip = next(folder.glob("pip-*.whl"))
        program = next(folder.glob("kubestead-*.whl"))
        digest = hashlib.sha256(program.read_bytes()).hexdigest()
        (folder / "program.txt").write_text(f"{program.as_uri()} --hash=sha256:{digest}\n", encoding="utf-8")

        self._run([sys.executable, "-m", "venv", "--without-pip", str(self.release)])
        python = str(self.release / "bin" / "python")
        install = [
            python,
            str(pip / "pip"),
            "install",
            "--quiet",
            "--no-input",
            "--disable-pip-version-check",
        ]
        install += ["--no-cache-dir", "--no-compile", "--no-deps", "--require-hashes", "--only-binary=:all:"]
        if self.module.params["wheels_from"] == "controller":
            install += ["--no-index", "--find-links", str(folder)]
        self._run([*install, "-r", str(folder / "requirements.txt"), "-r", str(folder / "program.txt")])
        # A trial on a store of its own shows that all fits this host, and leaves what it imports compiled.
        token = folder / "token"
        token.touch(mode=0o600)
        token.write_text(os.urandom(32).hex(), encoding="ascii")
        trial = [python, "-m", "kubestead.api", "--check", "--token-file", str(token)]
        self._run(
            [*trial, "--database", str(folder / "trial.db"), "--registry", str(folder / "registry.json")]
        )
        (self.release / MARKER).write_text(self.module.params["program_id"] + "\n", encoding="ascii")

    def _run(self, command: "list[str]") -> None:
        code, out, err = self.module.run_command(command)
        if code:
            said = "\n".join((err.strip() or out.strip()).splitlines()[-15:])
            self.module.fail_json(
                msg=f"The program could not be installed: {' '.join(command[:3])} … ended with {code}:\n"
                f"{said}\n"
                "Where this host reaches no package index, let the controller send the wheels: "
                "state_api_wheels_from: controller",
                rc=code,
            )


def main() -> None:
    """Look whether the program is there; install it when an archive came along."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": "/opt/kubestead/state-api"},
            "cache": {"type": "str", "required": True},
            "wheels_from": {"type": "str", "choices": ["index", "controller"], "default": "index"},
            "program_id": {"type": "str"},
            "archive": {"type": "path"},
        },
        supports_check_mode=True,
    )
    if sys.version_info[:2] < OLDEST_PYTHON:
        module.fail_json(
            msg=f"The State API needs Python 3.11 or newer. {sys.executable} is {platform.python_version()}: "
            "use Debian 12, Debian 13 or Ubuntu 24.04 for its host, or name a newer Python by "
            "ansible_python_interpreter."
        )
    place = Installation(module)
    result: dict[str, Any] = {
        "release": str(place.release),
        "python": place.python,
        "machine": platform.machine(),
        "needs_archive": False,
        "changed": not place.complete(),
    }
    if module._diff and result["changed"]:
        result["diff"] = {"before": f"{place.previous() or ''}\n", "after": f"{place.release}\n"}
    if result["changed"] and not module.check_mode and module.params["archive"]:
        place.install(module.params["archive"])
    else:
        result["needs_archive"] = result["changed"]
    module.exit_json(**result)


if __name__ == "__main__":
    main()
