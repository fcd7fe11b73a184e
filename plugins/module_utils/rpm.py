# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What rpm and dnf say about packages, read from their output; the shapes are those of :mod:`dpkg`."""

from __future__ import annotations

from .dpkg import Package

# What `rpm --query` is asked for, one line a package.
QUERY = "%{NAME}\t%{VERSION}-%{RELEASE}\n"

# What `dnf repoquery` is asked for. An extra newline (dnf 4 adds one of its own) does no harm.
QUERY_AVAILABLE = "%{name}\t%{version}-%{release}\n"

# Where dnf's versionlock keeps its list.
LOCK_LIST = "/etc/dnf/plugins/versionlock.list"


def versions(query_output: str) -> dict[str, str]:
    """Versions by name; other lines are for people ("package x is not installed")."""
    found = {}
    for line in query_output.splitlines():
        name, tab, version = line.partition("\t")
        if tab and " " not in name:
            found[name] = version
    return found


def held(lock_list: str) -> list[str]:
    """The names that dnf's versionlock holds, from its list file (`kubelet-0:1.36.4-*.*`)."""
    names = []
    for line in lock_list.splitlines():
        entry = line.strip()
        if entry and not entry.startswith(("#", "!")):
            names.append(entry.rsplit("-", 2)[0])
    return names


def installed(query_output: str, lock_list: str = "") -> dict[str, Package]:
    """The packages that are there, by name."""
    locked = set(held(lock_list))
    return {name: Package(version, name in locked) for name, version in versions(query_output).items()}
