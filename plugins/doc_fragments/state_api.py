# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the State API is, for every plugin that asks it. Private to the collection."""

from __future__ import annotations


class ModuleDocFragment:
    """The options that module_utils/state_api_module.py and plugin_utils/state_api.py read."""

    DOCUMENTATION = r"""
options:
  api_url:
    description:
      - Where the State API is, such as C(https://10.0.0.10:8080).
      - Without it, what the environment variable C(KUBESTEAD_API_URL) says.
    type: str
  api_token_file:
    description:
      - The file with the token, an operator's where something is to be changed.
      - Without it, the one that the environment variable C(KUBESTEAD_API_TOKEN_FILE) names.
    type: path
  api_ca_file:
    description:
      - The certificate authority of an C(https) address, as role C(state_api) leaves it on the controller.
      - Without it, the one that the environment variable C(KUBESTEAD_API_CA_FILE) names, else the system's.
    type: path
  api_timeout:
    description:
      - Seconds to wait for an answer.
      - Without it, what the environment variable C(KUBESTEAD_API_TIMEOUT) says.
    type: float
    default: 5
"""

    # Beside the standard fragment, for modules.
    MODULE = r"""
options: {}
attributes:
  action_group:
    description: Its options may be set for all modules at once, by C(module_defaults).
    support: full
    membership:
      - kubestead.homelab.state_api
notes:
  - It runs on any host that reaches the State API, and needs nothing there but Python. Files and environment
    variables are those of that host; on the controller, that is C(delegate_to=localhost).
"""

    # Beside the standard fragment, for plugins that run on the controller.
    PLUGIN = r"""
options:
  api_url:
    env:
      - name: KUBESTEAD_API_URL
    ini:
      - section: kubestead_state_api
        key: api_url
    vars:
      - name: kubestead_api_url
  api_token_file:
    env:
      - name: KUBESTEAD_API_TOKEN_FILE
    ini:
      - section: kubestead_state_api
        key: api_token_file
    vars:
      - name: kubestead_api_token_file
  api_ca_file:
    env:
      - name: KUBESTEAD_API_CA_FILE
    ini:
      - section: kubestead_state_api
        key: api_ca_file
    vars:
      - name: kubestead_api_ca_file
  api_timeout:
    env:
      - name: KUBESTEAD_API_TIMEOUT
    ini:
      - section: kubestead_state_api
        key: api_timeout
    vars:
      - name: kubestead_api_timeout
"""
