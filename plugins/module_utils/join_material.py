# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one machine needs to join, made on a control plane and ended when it has joined.

The token is made by the API of this machine's own API server: no program sees it. A certificate key is handed
to kubeadm in memory. Neither is on the disk or in a list of arguments.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import string
import typing as t
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from .kubeadm import config_in_memory
from .kubeconfig import Client, KubeconfigError
from .node_run import ClusterError, NodeRun
from .node_state import local_client

SECRETS = "/api/v1/namespaces/kube-system/secrets"
RECORD = "/api/v1/namespaces/kube-system/configmaps/kubeadm-config"
SEALED = "kubeadm-certs"

_LETTERS = string.ascii_lowercase + string.digits
_LIFETIME = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_ADVERTISED = re.compile(r"--advertise-address=(\S+)")


@dataclass
class MaterialOptions:
    """What is to be made, and for whom."""

    host: str
    lifetime: timedelta
    description: str
    control_plane: bool = False
    port: int = 6443
    cri_socket: str = "unix:///var/run/containerd/containerd.sock"
    log: Path = Path("/var/log/kubeadm-init.log")


def parse_lifetime(text: str) -> timedelta:
    """Read a time such as 15m or 1h30m; raises ValueError."""
    match = _LIFETIME.fullmatch(text)
    if not match or not any(match.groups()):
        raise ValueError(f"{text}: expected a time such as 15m or 1h30m")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


def token_secret(token: str, options: MaterialOptions, now: datetime) -> dict[str, t.Any]:
    """Return the Secret that makes a token valid, as `kubeadm token create` makes it."""
    identifier, secret = token.split(".")
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "bootstrap.kubernetes.io/token",
        "metadata": {"name": f"bootstrap-token-{identifier}", "namespace": "kube-system"},
        "stringData": {
            "token-id": identifier,
            "token-secret": secret,
            "expiration": (now + options.lifetime).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "description": options.description,
            "usage-bootstrap-authentication": "true",
            "usage-bootstrap-signing": "true",
            "auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token",
        },
    }


class Material(NodeRun[MaterialOptions]):
    """What a join takes, on the control plane that makes it."""

    def make(self) -> dict[str, t.Any]:
        """Make `token`, told when it `expires`, and for a control plane `certificate_key` and its `files`."""
        client = self._client()
        token = ".".join("".join(secrets.choice(_LETTERS) for _char in range(length)) for length in (6, 16))
        body = token_secret(token, self.options, datetime.now(timezone.utc))
        self._expect(client, SECRETS, "POST", body)
        made = {
            "token": token,
            "expires": body["stringData"]["expiration"],
            "certificate_key": "",
            "files": {},
        }
        if self.options.control_plane:
            made["certificate_key"] = self._seal(client)
            folder = self.host.paths.api_server
            made["files"] = {
                path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.yaml"))
            }
        return made

    def end(self, token_id: str) -> bool:
        """End it: the token is deleted, and the sealed certificates with it; tell whether there was any."""
        client = self._client()
        names = [f"bootstrap-token-{token_id}"] if token_id else []
        if self.options.control_plane:
            sealed = client.request(f"{SECRETS}/{SEALED}").json() or {}
            owners = (sealed.get("metadata") or {}).get("ownerReferences") or []
            names += [SEALED, *(str(owner["name"]) for owner in owners if owner.get("kind") == "Secret")]
        deleted = [client.request(f"{SECRETS}/{name}", "DELETE").ok for name in names]
        return any(deleted)

    def _client(self) -> Client:
        try:
            return local_client(self.host.paths, self.options.port, admin=True)
        except KubeconfigError as error:
            raise ClusterError(
                f"{self.options.host} cannot make a token, because of its admin.conf: {error}"
            ) from error

    def _expect(self, client: Client, path: str, method: str = "GET", body: t.Any = None) -> t.Any:
        answer = client.request(path, method, body)
        if not answer.ok:
            # What was sent may come back in the answer: only its status is told.
            raise ClusterError(
                f"{self.options.host} cannot make a token: its API said {answer.status or 'nothing'} to "
                f"{method} {path}."
            )
        return answer.json()

    def _seal(self, client: Client) -> str:
        """Let kubeadm put the cluster's certificates into the cluster, sealed with a key of this join."""
        recorded = self._expect(client, RECORD)["data"]["ClusterConfiguration"]
        version = re.search(r"^apiVersion:\s*(\S+)", recorded, re.MULTILINE)
        manifest = self.host.paths.manifests / "kube-apiserver.yaml"
        address = _ADVERTISED.search(manifest.read_text(encoding="utf-8"))
        key = secrets.token_hex(32)
        document = {
            "apiVersion": version.group(1) if version else "",
            "kind": "InitConfiguration",
            "certificateKey": key,
            "localAPIEndpoint": {
                "advertiseAddress": address.group(1) if address else "",
                "bindPort": self.options.port,
            },
            "nodeRegistration": {"criSocket": self.options.cri_socket},
        }
        handle = config_in_memory(f"{json.dumps(document)}\n---\n{recorded}")
        words = ["init", "phase", "upload-certs", "--upload-certs", "--skip-certificate-key-print"]
        try:
            outcome = self.execute(
                [
                    "kubeadm",
                    *words,
                    f"--config=/proc/self/fd/{handle}",
                    f"--kubeconfig={self.host.paths.kubernetes / 'admin.conf'}",
                ],
                self.options.log,
                120,
                [handle],
                pass_lock=self.lock,
            )
        finally:
            os.close(handle)
        if outcome.code != 0:
            raise ClusterError(
                f"The certificates of {self.options.host} could not be made ready for another control plane: "
                f"{outcome.problem()}. All of it is in {self.options.log} there."
            )
        return key
