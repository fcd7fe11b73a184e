# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every module says of itself. Private to the collection."""

from __future__ import annotations


class ModuleDocFragment:
    """Attributes of modules, in the words of Ansible's documentation."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode and tell what would change, without changing it.
  diff_mode:
    description: Shows what has changed, or in check mode would change.
  idempotent:
    description: A second run with the same options changes nothing.
"""

    # Beside the standard fragment.
    CHANGES = r"""
options: {}
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
"""

    # Beside the standard fragment.
    READS = r"""
options: {}
attributes:
  check_mode:
    support: full
    details:
      - It changes nothing.
  diff_mode:
    support: N/A
    details:
      - It changes nothing.
  idempotent:
    support: full
    details:
      - It changes nothing.
"""
