# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which distribution a machine has, by the names of Ansible's facts.

`ansible.builtin.setup` knows a hundred systems and takes ten times as long; what is not known here is left
to it.
"""

from __future__ import annotations

from pathlib import Path

from .host import read_text

#: By the ID of os-release(5) of freedesktop.org: the distribution and the family as Ansible calls them.
KNOWN = {
    "debian": ("Debian", "Debian"),
    "raspbian": ("Debian", "Debian"),
    "ubuntu": ("Ubuntu", "Debian"),
    "rocky": ("Rocky", "RedHat"),
    "rhel": ("RedHat", "RedHat"),
    "almalinux": ("AlmaLinux", "RedHat"),
    "centos": ("CentOS", "RedHat"),
    "ol": ("OracleLinux", "RedHat"),
}


def os_release(text: str) -> dict[str, str]:
    """Return the fields of an os-release file."""
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {name: value.strip("\"'") for name, value in pairs}


def distribution_facts(root: Path = Path("/")) -> dict[str, str]:
    """Return `distribution`, `distribution_major_version`, `os_family`; nothing where it is not known."""
    text = read_text(root / "etc/os-release") or read_text(root / "usr/lib/os-release") or ""
    fields = os_release(text)
    release = fields.get("VERSION_ID", "")
    if fields.get("ID") not in KNOWN or not release:
        return {}
    name, family = KNOWN[fields["ID"]]
    return {
        "distribution": name,
        "distribution_major_version": release.split(".")[0],
        "os_family": family,
    }
