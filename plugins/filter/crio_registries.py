# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter crio_registries: mirrors of registries as CRI-O reads them."""

from __future__ import annotations

DOCUMENTATION = r"""
name: crio_registries
short_description: Mirrors of registries as CRI-O reads them
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Turns mirrors of registries into the text of a file for C(/etc/containers/registries.conf.d).
  - After the mirrors CRI-O asks the registry itself.
positional: _input
options:
  _input:
    description: A list of base URLs for each registry's host name.
    type: dict
    required: true
  insecure:
    description: Host names of registries and mirrors whose certificates are not checked.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: A mirror of one registry
  ansible.builtin.debug:
    msg: "{{ {'docker.io': ['http://10.0.0.10:5000']} | kubestead.homelab.crio_registries }}"
"""

RETURN = r"""
_value:
  description: The text.
  type: str
"""

import typing as t

from ansible.errors import AnsibleFilterError

HEADER = "# Managed by kubestead.homelab: changes here are overwritten.\n"


def _mirror(registry: str, url: str, insecure: t.Container[str]) -> str:
    scheme, found, place = str(url).partition("://")
    if scheme not in ("http", "https") or not found or '"' in place:
        raise AnsibleFilterError(
            f"crio_registries: {registry}: expected a list of http:// or https:// URLs, got {url!r}."
        )
    unchecked = scheme == "http" or place.split("/")[0] in insecure
    return f'\n[[registry.mirror]]\nlocation = "{place.rstrip("/")}"\ninsecure = {str(unchecked).lower()}\n'


def crio_registries(mirrors: t.Mapping[str, t.Sequence[str]], insecure: t.Sequence[str] = ()) -> str:
    """The text for these mirrors and insecure registries."""
    blocks = []
    hosts = {str(url).partition("://")[2].split("/")[0] for urls in mirrors.values() for url in urls}
    alone: dict[str, t.Sequence[str]] = {name: [] for name in insecure if name not in {*mirrors, *hosts}}
    for registry, urls in {**mirrors, **alone}.items():
        if registry in ("", "_default") or any(letter in registry for letter in '/"\n '):
            raise AnsibleFilterError(f"crio_registries: {registry!r} is no registry's host name.")
        if isinstance(urls, str):
            raise AnsibleFilterError(f"crio_registries: {registry}: expected a list of URLs, got {urls!r}.")
        block = f'\n[[registry]]\nprefix = "{registry}"\nlocation = "{registry}"\n'
        block += "insecure = true\n" if registry in insecure else ""
        blocks.append(block + "".join(_mirror(registry, url, insecure) for url in urls))
    return HEADER + "".join(blocks)


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filters of this file."""
        return {"crio_registries": crio_registries}
