# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""cluster_claim on the controller: the module, told by the inventory where the State API is."""

from __future__ import annotations

from ansible_collections.kubestead.homelab.plugins.plugin_utils.api_action import ApiAction


class ActionModule(ApiAction):
    """Runs the module."""
