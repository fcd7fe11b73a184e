# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: catalogue
short_description: A part of the catalogue of versions
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Reads the file C(catalogue.yml) of the role C(artifacts), once in each process.
positional: _input, minor
options:
  _input:
    description: The name of the part.
    type: str
    required: true
    choices: [versions, checksums, conformance_images]
  minor:
    description: A Kubernetes minor, for what the part has for it alone.
    type: str
"""

EXAMPLES = r"""
- name: Which minors are there
  ansible.builtin.debug:
    msg: "{{ 'versions' | kubestead.homelab.catalogue | list }}"

- name: Which etcd goes with one of them
  ansible.builtin.debug:
    msg: "{{ ('versions' | kubestead.homelab.catalogue('1.36')).etcd }}"
"""

RETURN = r"""
_value:
  description:
    - C(versions) and C(conformance_images) are by Kubernetes minor, C(checksums) by file and version.
  type: dict
"""

import typing as t
from functools import lru_cache
from pathlib import Path

import yaml

FILE = Path(__file__).parents[2] / "roles" / "artifacts" / "files" / "catalogue.yml"


@lru_cache(maxsize=1)
def _read() -> dict[str, t.Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is ten times as fast
    found: dict[str, t.Any] = loader(FILE.read_bytes()).get_single_data()
    return found


def _entry(found: t.Mapping[str, t.Any], name: str) -> dict[str, t.Any]:
    if name not in found:
        raise ValueError(f"the catalogue of versions ({FILE}) has {', '.join(found)}, and not {name}")
    entry: dict[str, t.Any] = found[name]
    return entry


def catalogue(part: str, minor: str = "") -> dict[str, t.Any]:
    """Return this part, or what it has for this minor."""
    found = _entry(_read(), part)
    return _entry(found, minor) if minor else found


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return them by name."""
        return {"catalogue": catalogue}
