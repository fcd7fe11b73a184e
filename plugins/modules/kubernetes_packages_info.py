#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_packages_info
short_description: Which Kubernetes packages a machine has
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Tells in one round trip which of Kubernetes' packages are installed and held, what kubeadm says of
    itself, whether the
    kubelet is started at boot, and whether the machine belongs to a cluster.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.reads
options:
  wanted:
    description: The packages that are wanted and their versions, without a revision. An empty version is any.
    type: dict
    required: true
  repository_file:
    description: The file that tells apt or dnf of the repository. The one of dnf holds the packages, by an
      C(exclude) in it.
    type: path
    required: true
  repository_text:
    description: What it should say.
    type: str
    required: true
  key_file:
    description: The key that signs the repository, where it is a file of its own.
    type: path
"""

EXAMPLES = r"""
- name: What is installed
  kubestead.homelab.kubernetes_packages_info:
    wanted: {kubeadm: 1.36.4, kubelet: 1.36.4, kubectl: 1.36.4}
    repository_file: /etc/apt/sources.list.d/kubernetes.list
    repository_text: "{{ lookup('ansible.builtin.template', 'kubernetes.list.j2') }}"
    key_file: /etc/apt/keyrings/kubernetes.asc
  register: packages
"""

RETURN = r"""
packages:
  description: The installed ones of O(wanted), with C(version) and C(held).
  returned: always
  type: dict
  sample: {kubeadm: {version: 1.36.4-1.1, held: true}}
differing:
  description: Packages of O(wanted) that are not installed in the wanted version.
  returned: always
  type: list
  elements: str
specs:
  description: All of O(wanted) as apt or dnf takes them, with any revision.
  returned: always
  type: list
  elements: str
  sample: [kubeadm=1.36.4-*, cri-tools]
repository_ready:
  description: Whether O(repository_file) says O(repository_text) and O(key_file) is there.
  returned: always
  type: bool
free:
  description: Packages of O(wanted) that are not held.
  returned: always
  type: list
  elements: str
kubeadm_version:
  description: What C(kubeadm version -o short) says, without the leading C(v). Empty when there is no
    kubeadm.
  returned: always
  type: str
  sample: 1.36.4
kubelet_unit:
  description: Whether there is a kubelet unit, and whether it is started at boot.
  returned: always
  type: str
  choices: [enabled, disabled, absent]
in_cluster:
  description: Whether the machine has joined or made a cluster by kubeadm.
  returned: always
  type: bool
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils import dpkg, rpm
from ansible_collections.kubestead.homelab.plugins.module_utils.host import read_text

MEMBER_FILES = ("/etc/kubernetes/kubelet.conf", "/etc/kubernetes/manifests/kube-apiserver.yaml")
UNIT_FOLDERS = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")


def kubelet_unit() -> str:
    """From the files that systemd itself goes by."""
    if not any((Path(folder) / "kubelet.service").exists() for folder in UNIT_FOLDERS):
        return "absent"
    wants = list(Path("/etc/systemd/system").glob("*.wants/kubelet.service"))
    return "enabled" if wants else "disabled"


def main() -> None:
    """Read and tell."""
    module = AnsibleModule(
        argument_spec={
            "wanted": {"type": "dict", "required": True},
            "repository_file": {"type": "path", "required": True},
            "repository_text": {"type": "str", "required": True},
            "key_file": {"type": "path", "no_log": False},
        },
        supports_check_mode=True,
    )
    wanted = {name: str(version or "") for name, version in module.params["wanted"].items()}
    told = read_text(Path(module.params["repository_file"]))
    separator = "="
    if module.get_bin_path("dpkg-query"):
        _code, out, _err = module.run_command(["dpkg-query", "--show", "--showformat", dpkg.QUERY, *wanted])
        have = dpkg.installed(out)
    elif module.get_bin_path("rpm"):
        separator = "-"
        _code, out, _err = module.run_command(["rpm", "--query", "--queryformat", rpm.QUERY, *wanted])
        excluded = "\nexclude=" in (told or "")
        have = {name: dpkg.Package(version, excluded) for name, version in rpm.versions(out).items()}
    else:
        module.fail_json(msg="kubernetes_packages_info needs dpkg or rpm, neither of which this machine has.")
    kubeadm = module.get_bin_path("kubeadm")
    version = (
        module.run_command([kubeadm, "version", "-o", "short"])[1].strip().lstrip("v") if kubeadm else ""
    )
    key = module.params["key_file"]
    module.exit_json(
        changed=False,
        packages={name: package._asdict() for name, package in have.items()},
        repository_ready=told == module.params["repository_text"] and (not key or Path(key).exists()),
        differing=[
            name
            for name, version in wanted.items()
            if name not in have or (version and not dpkg.matches(have[name].version, version))
        ],
        specs=[f"{name}{separator}{version}-*" if version else name for name, version in wanted.items()],
        free=[name for name in wanted if name not in have or not have[name].held],
        kubeadm_version=version,
        kubelet_unit=kubelet_unit(),
        in_cluster=any(Path(path).exists() for path in MEMBER_FILES),
    )


if __name__ == "__main__":
    main()
