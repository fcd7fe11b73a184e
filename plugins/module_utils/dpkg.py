# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What dpkg and apt say about packages, read from their output."""

from __future__ import annotations

from typing import NamedTuple, Sequence

# What dpkg-query is asked for, one line a package.
QUERY = "${Package}\t${db:Status-Want}\t${db:Status-Status}\t${Version}\n"


class Package(NamedTuple):
    """An installed package."""

    version: str
    held: bool


def installed(query_output: str) -> dict[str, Package]:
    """The packages that are really there, by name."""
    packages: dict[str, Package] = {}
    for line in query_output.splitlines():
        name, _tab, rest = line.partition("\t")
        want, _tab, rest = rest.partition("\t")
        status, _tab, version = rest.partition("\t")
        if status == "installed":
            packages[name] = Package(version, want == "hold")
    return packages


def candidates(policy_output: str) -> dict[str, str]:
    """The version of each package that apt would install, from ``apt-cache policy``."""
    found: dict[str, str] = {}
    name = ""
    for line in policy_output.splitlines():
        if line and not line.startswith(" "):
            name = line.rstrip(":")
        elif line.startswith("  Candidate: "):
            version = line.partition(": ")[2]
            if version != "(none)":
                found[name] = version
    return found


def choose(names: Sequence[str], have: "dict[str, Package]", can: "dict[str, str]") -> str:
    """The first that is installed, else the first that can be, else nothing."""
    return next((name for name in names if name in have), next((name for name in names if name in can), ""))


def upstream(version: str) -> str:
    """A package's version without epoch and revision: ``1.7.28`` of ``2:1.7.28-1~deb12u1``."""
    bare = version.rpartition(":")[2]
    bare = bare.rpartition("-")[0] or bare
    for separator in "~+":
        bare = bare.partition(separator)[0]
    return bare


def matches(version: str, wanted: str) -> bool:
    """Whether a package's version is the wanted one, whatever its revision."""
    return version == wanted or version.startswith(wanted + "-")
