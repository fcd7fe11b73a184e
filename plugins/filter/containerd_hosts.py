# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter containerd_hosts: mirrors of registries as containerd's own files."""

from __future__ import annotations

DOCUMENTATION = r"""
name: containerd_hosts
short_description: Mirrors of registries as containerd's own files
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Turns mirrors of registries into the C(hosts.toml) files that containerd reads, for
    M(kubestead.homelab.managed_files).
  - After the mirrors containerd asks the registry itself.
positional: _input
options:
  _input:
    description: A list of base URLs for each registry's host name; C(_default) stands for all others.
    type: dict
    required: true
  insecure:
    description:
      - Host names of registries and mirrors whose certificates are not checked.
      - A registry that is not among the mirrors' is asked by https without that check, then by plain http.
    type: list
    elements: str
    default: []
  folder:
    description: Where containerd looks for them.
    type: str
    default: /etc/containerd/certs.d
"""

EXAMPLES = r"""
- name: Files for a mirror of all registries
  ansible.builtin.debug:
    msg: "{{ {'_default': ['http://10.0.0.10:8086']} | kubestead.homelab.containerd_hosts }}"
"""

RETURN = r"""
_value:
  description: The files, each with C(path) and C(content).
  type: list
  elements: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError

HEADER = "# Managed by kubestead.homelab: changes here are overwritten.\n"


def host_file(urls: t.Sequence[str], insecure: t.Container[str] = ()) -> str:
    """The text of one ``hosts.toml``; the mirrors are tried in order."""
    blocks = []
    for url in urls:
        unchecked = url.startswith("https://") and url.split("/")[2] in insecure
        blocks.append(
            f'\n[host."{url}"]\n  capabilities = ["pull", "resolve"]\n'
            + ("  skip_verify = true\n" if unchecked else "")
        )
    return HEADER + "".join(blocks)


def containerd_hosts(
    mirrors: t.Mapping[str, t.Sequence[str]],
    folder: str = "/etc/containerd/certs.d",
    insecure: t.Sequence[str] = (),
) -> list[dict[str, str]]:
    """The files for these mirrors and insecure registries."""
    files = []
    # Who is only a mirror's host is asked as a mirror; all others are registries that are asked themselves.
    hosts = {str(url).split("/")[2] for urls in mirrors.values() for url in urls if "://" in str(url)}
    names = [name for name in insecure if name not in {*mirrors, *hosts}]
    alone = {name: [f"https://{name}", f"http://{name}"] for name in names}
    for registry, urls in {**mirrors, **alone}.items():
        if "/" in registry or registry in ("", ".", ".."):
            raise AnsibleFilterError(f"containerd_hosts: {registry!r} is no registry's host name.")
        wrong = [url for url in urls if not str(url).startswith(("http://", "https://")) or '"' in str(url)]
        if isinstance(urls, str) or wrong:
            raise AnsibleFilterError(
                f"containerd_hosts: {registry}: expected a list of http:// or https:// URLs, got {urls!r}."
            )
        files.append(
            {"path": f"{folder}/{registry}/hosts.toml", "content": host_file(list(urls), set(insecure))}
        )
    return files


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filters of this file."""
        return {"containerd_hosts": containerd_hosts}
