# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Text from outside is marked, so that Ansible never takes it for a template."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping

from ansible.utils.unsafe_proxy import wrap_var

_TEMPLATE = re.compile(r"[{}]")


def make_unsafe(value: t.Any) -> t.Any:
    """Copy a value with its text marked as unsafe; text without braces can be no template and stays plain."""
    if isinstance(value, str):
        return wrap_var(value) if _TEMPLATE.search(value) else value
    if isinstance(value, Mapping):
        return {make_unsafe(key): make_unsafe(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [make_unsafe(inner) for inner in value]
    return value
