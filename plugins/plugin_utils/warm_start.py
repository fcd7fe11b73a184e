# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Load what templates use once, in Ansible's own process.

Each task of each host is a process of its own, a copy of that one. What the first one has not loaded, each of
them loads, compiles and loses again: filters and tests took a tenth of a second of each task that uses one.
"""

from __future__ import annotations

from ansible.plugins.loader import filter_loader, test_loader

#: One filter of a collection brings all of its collection.
COLLECTIONS = ("kubestead.homelab.acting_control_plane",)


def load_filters() -> None:
    """Load Ansible's filters and tests, and ours."""
    for loader in (filter_loader, test_loader):
        for _plugin in loader.all():
            continue
    for name in COLLECTIONS:
        filter_loader.get(name)
