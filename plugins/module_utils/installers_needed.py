# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which distributions' installers the machines of a registry need."""

from __future__ import annotations

import typing as t

INSTALLER = "installer"
DEFAULT_SYSTEM = "debian-13"


def installers_needed(machines: t.Iterable[t.Mapping[str, t.Any]], method: str = "image") -> t.List[str]:
    """Name them, such as `debian-13-amd64`, each once.

    machines: entries of the registry. method: that of a machine whose entry has no `install_method`.
    """
    return sorted(
        {
            "{0}-{1}".format(machine.get("os") or DEFAULT_SYSTEM, machine["architecture"])
            for machine in machines
            if (machine.get("install_method") or method) == INSTALLER
        }
    )
