#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: machine_answers
short_description: Whether a machine answers
version_added: 0.2.0
author: Kubestead contributors (@kubestead)
description:
  - Connects to the machine once, as every task does, and says whether that worked. A machine that is not
    there is no failure. Nothing is needed on it, not even Python.
options: {}
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.reads
"""

EXAMPLES = r"""
- name: Is it there
  kubestead.homelab.machine_answers:
  register: seen
"""

RETURN = r"""
answers:
  description: Whether a command could be run on it.
  returned: always
  type: bool
  sample: true
said:
  description: Why not, in the words of the connection; a machine that refuses the key says so here.
  returned: always
  type: str
  sample: "Failed to connect to the host via ssh: ssh: connect to host 10.0.0.21 port 22: No route to host"
"""
