# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a control plane's certificates are whole, and how they become so again.

A power cut or a full disk leaves files that are empty or end too early. A running API server does not notice;
it would not start again. What the cluster's authorities have signed can be made anew from them at any time.
The authorities themselves cannot: all of the cluster trusts them.
"""

from __future__ import annotations

import ssl
import typing as t
from datetime import datetime, timezone
from pathlib import Path

from .kubeconfig import KubeconfigError, load_kubeconfig
from .leftovers import Host
from .node_run import ClusterError
from .node_state import read_certificate

#: What kubeadm makes in /etc/kubernetes/pki, the authority that signs it, and the phase that makes it.
SIGNED = {
    "apiserver": ("ca", "apiserver"),
    "apiserver-kubelet-client": ("ca", "apiserver-kubelet-client"),
    "front-proxy-client": ("front-proxy-ca", "front-proxy-client"),
    "apiserver-etcd-client": ("etcd/ca", "apiserver-etcd-client"),
    "etcd/server": ("etcd/ca", "etcd-server"),
    "etcd/peer": ("etcd/ca", "etcd-peer"),
    "etcd/healthcheck-client": ("etcd/ca", "etcd-healthcheck-client"),
}
KUBECONFIGS = ("controller-manager", "scheduler")


def pair_problem(certificate: Path, key: Path) -> str:
    """Say what is wrong with a certificate and its key; nothing when they belong together."""
    lost = [path.name for path in (certificate, key) if not path.exists()]
    if lost:
        return f"{' and '.join(lost)} missing"
    if read_certificate(certificate) is None:
        return f"{certificate.name} cannot be read"
    try:
        # Without a password to give, a key that has one would be asked for on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        mismatch = getattr(error, "reason", "") == "KEY_VALUES_MISMATCH"
        return f"{key.name} {'is not the key of its certificate' if mismatch else 'cannot be read'}"
    return ""


class ClusterCertificates:
    """The certificates of one control plane."""

    def __init__(self, host: Host, name: str, config: str) -> None:
        """name: the machine, in messages. config: what kubeadm is configured with here."""
        self.host = host
        self.name = name
        self.config = config
        self.stacked = (host.paths.manifests / "etcd.yaml").exists()

    def _wanted(self) -> dict[str, tuple[str, str]]:
        return {name: made for name, made in SIGNED.items() if self.stacked or "etcd" not in made[1]}

    def problems(self) -> dict[str, str]:
        """What is not whole: the names in SIGNED and KUBECONFIGS, and what is wrong with each."""
        pki = self.host.paths.pki
        found = {}
        for name in self._wanted():
            problem = pair_problem(pki / f"{name}.crt", pki / f"{name}.key")
            found[name] = problem and f"{'etcd/' * name.startswith('etcd/')}{problem}"
        for name in KUBECONFIGS:
            try:
                load_kubeconfig(self.host.paths.kubernetes / f"{name}.conf")
            except KubeconfigError:
                found[name] = f"{name}.conf cannot be read"
        return {name: problem for name, problem in found.items() if problem}

    def check_authorities(self) -> None:
        """Raise ClusterError where an authority's certificate is not whole."""
        pki = self.host.paths.pki
        wanted = {authority for authority, _phase in self._wanted().values()}
        lost = [
            f"{pki / name}.crt" for name in sorted(wanted) if read_certificate(pki / f"{name}.crt") is None
        ]
        if lost:
            raise ClusterError(
                f"{self.name}: {', '.join(lost)} cannot be read. All of the cluster trusts this authority; "
                "it is not made anew. Bring it back from a backup, or from another control plane, where it "
                "is the same; then the same command again. Nothing was changed."
            )

    def repair(self) -> str:
        """Make anew what is not whole; return what was wrong, or nothing. Raises ClusterError."""
        wrong = self.problems()
        for name in wrong:
            if name in KUBECONFIGS:
                self._set_aside(self.host.paths.kubernetes / f"{name}.conf")
                self._kubeadm("kubeconfig", name)
            else:
                self._sign(name, wrong[name])
        left = self.problems() if wrong else {}
        if left:
            raise ClusterError(
                f"The certificates on {self.name} could not be made anew: {'; '.join(left.values())}."
            )
        return "; ".join(wrong.values())

    def _sign(self, name: str, wrong: str) -> None:
        pki = self.host.paths.pki
        authority, phase = SIGNED[name]
        problem = pair_problem(pki / f"{authority}.crt", pki / f"{authority}.key")
        if problem:
            raise ClusterError(
                f"{self.name}: in {pki} {wrong}, and it cannot be signed anew: of its authority {authority} "
                f"{problem}. Bring that back from a backup, or from another control plane, where it is the "
                "same; then the same command again."
            )
        for end in ("crt", "key"):
            self._set_aside(pki / f"{name}.{end}")
        self._kubeadm("certs", phase)

    def _set_aside(self, path: Path) -> None:
        """Keep a file beside where it was; one that is empty is of use to nobody."""
        if not path.exists():
            return
        if path.stat().st_size:
            stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
            path.rename(path.with_name(f"{path.name}.{stamp}"))
        else:
            path.unlink()

    def _kubeadm(self, *words: str) -> None:
        argv: t.Sequence[str] = ["kubeadm", "init", "phase", *words, "--config", "/dev/stdin"]
        code, _out, err = self.host.run(argv, self.config, 60)
        if code != 0:
            raise ClusterError(
                f"The certificates on {self.name} could not be made anew: {' '.join(argv[:5])}: "
                f"{err.strip()[-300:] or code}"
            )
