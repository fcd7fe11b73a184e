# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether admin.conf may do everything, and how it comes to do so again.

Since 1.29 kubeadm's admin.conf belongs to the group kubeadm:cluster-admins, which a binding lets do
everything; before, to system:masters, which needs none. What can go wrong is the certificate (of another
authority, ended, of another group) or the binding. The binding is mended with a certificate of system:masters
that ends within an hour and is never on the disk.
"""

from __future__ import annotations

import typing as t
from datetime import datetime, timezone
from pathlib import Path

from .kubeconfig import Client, Kubeconfig, KubeconfigError, load_kubeconfig, parse_kubeconfig
from .leftovers import Host
from .node_run import ClusterError
from .node_state import read_certificate
from .x509 import CertificateError, parse_certificate

ADMINS = "kubeadm:cluster-admins"
MASTERS = "system:masters"
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
BINDINGS = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"

_EVERYTHING = {
    "apiVersion": "authorization.k8s.io/v1",
    "kind": "SelfSubjectAccessReview",
    "spec": {"resourceAttributes": {"verb": "*", "group": "*", "resource": "*"}},
}
_BINDING = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": ADMINS},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": ADMINS}],
}


class AdminAccess:
    """The administrator's kubeconfig of one control plane whose API server is ready."""

    def __init__(self, host: Host, name: str, config: str, port: int = 6443) -> None:
        """name: the machine, in messages. config: what kubeadm is configured with here."""
        self.host = host
        self.name = name
        self.config = config
        self.server = f"https://localhost:{port}"

    @property
    def path(self) -> Path:
        """The kubeconfig."""
        return self.host.paths.kubernetes / "admin.conf"

    def certificate_problem(self) -> str:
        """Say what is wrong with its certificate; nothing when it is one of this cluster's administrator."""
        authority = read_certificate(self.host.paths.pki / "ca.crt")
        try:
            config = load_kubeconfig(self.path)
            certificate = parse_certificate(config.certificate)
            trusted = parse_certificate(config.authority)
        except (KubeconfigError, CertificateError) as error:
            return f"it cannot be read: {error}"
        if authority and trusted.pin != authority.pin:
            return "it trusts another authority than this cluster's"
        if certificate.not_after <= datetime.now(timezone.utc):
            return f"its certificate has ended ({certificate.not_after:%Y-%m-%d})"
        if not {ADMINS, MASTERS} & set(certificate.organisations):
            found = ", ".join(certificate.organisations) or "none"
            return f"its certificate is of the groups {found}, expected {ADMINS} or {MASTERS}"
        answer = self._review()
        return "the API server does not accept its certificate" if answer == 401 else ""

    def rights_problem(self) -> str:
        """Say when it is known to the API and may not do everything."""
        return "" if self._review() in (0, 200, 401) else "it may not do everything (RBAC)"

    def problem(self) -> str:
        """Say what is wrong with it; nothing when it may do everything."""
        return self.certificate_problem() or self.rights_problem()

    def repair(self) -> str:
        """Make it right; return what was wrong, or nothing. Raises ClusterError."""
        wrong = self.certificate_problem()
        if wrong:
            self._make_anew()
        rights = self.rights_problem()
        if rights:
            self._bind()
        left = self.problem() if wrong or rights else ""
        if left:
            raise ClusterError(f"admin.conf on {self.name} could not be repaired: {left}.")
        return "; ".join(text for text in (wrong, rights) if text)

    def _review(self) -> int:
        """Ask what it may do: 200 everything, 403 less, 401 unknown to the API, 0 no answer."""
        try:
            config = load_kubeconfig(self.path)
            answer = self._client(config).request(REVIEWS, "POST", _EVERYTHING)
        except KubeconfigError:
            return 401
        if answer.ok:
            allowed = bool(((answer.json() or {}).get("status") or {}).get("allowed"))
            return 200 if allowed else 403
        return answer.status

    def _client(self, config: Kubeconfig) -> Client:
        local = Kubeconfig(self.server, config.authority, config.certificate, config.key)
        return Client(local, check_name=False)

    def _make_anew(self) -> None:
        """Let kubeadm write it; what was there stays beside it."""
        if self.path.exists():
            stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
            self.path.rename(self.path.with_name(f"admin.conf.{stamp}"))
        self._kubeadm(["init", "phase", "kubeconfig", "admin", "--config", "/dev/stdin"])

    def _bind(self) -> None:
        """Let the group of administrators do everything."""
        words = ["kubeconfig", "user", "--client-name=kubestead-repair", f"--org={MASTERS}"]
        made = self._kubeadm([*words, "--validity-period=1h", "--config", "/dev/stdin"])
        try:
            master = self._client(parse_kubeconfig(made, self.host.paths.kubernetes))
        except KubeconfigError as error:
            raise ClusterError(f"admin.conf on {self.name} could not be repaired: {error}") from error
        # What a binding leads to cannot be changed: a wrong one is replaced.
        master.request(f"{BINDINGS}/{ADMINS}", "DELETE")
        answer = master.request(BINDINGS, "POST", _BINDING)
        if not answer.ok:
            raise ClusterError(
                f"The binding {ADMINS} could not be made on {self.name}: the API said {answer.status} "
                f"{answer.body[:300]}"
            )

    def _kubeadm(self, words: t.Sequence[str]) -> str:
        code, out, err = self.host.run(["kubeadm", *words], self.config, 60)
        if code != 0:
            raise ClusterError(
                f"admin.conf on {self.name} could not be repaired: kubeadm {' '.join(words[:4])}: "
                f"{err.strip()[-300:] or code}"
            )
        return out
