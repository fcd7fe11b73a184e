# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which pod network a cluster has, and the pods that a new one does not know."""

from __future__ import annotations

import re
import typing as t
from dataclasses import asdict, dataclass, field

from .kubeconfig import Answer

#: What each network is known by: a path of the API that answers where it is there.
MARKS = {
    "flannel": "/apis/apps/v1/namespaces/kube-flannel/daemonsets/kube-flannel-ds",
    "calico": "/apis/apps/v1/namespaces/tigera-operator/deployments/tigera-operator",
    "cilium": "/apis/apps/v1/namespaces/kube-system/daemonsets/cilium",
}
KUBE_PROXY = "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy"
CLUSTER_INFO = "/api/v1/namespaces/kube-public/configmaps/cluster-info"
#: Secrets that Cilium's chart makes anew each time that it is rendered; those that are there stay.
CILIUM_SECRETS = ("cilium-ca", "hubble-server-certs", "hubble-relay-client-certs")


class Api(t.Protocol):
    """What is asked of the API: the client of a kubeconfig, or a test's."""

    def request(
        self, path: str, method: str = "GET", body: t.Any = None, content_type: str = "application/json"
    ) -> Answer: ...


class PodNetworkError(Exception):
    """The API did not answer as it should."""


@dataclass
class PodNetwork:
    """What there is."""

    networks: list[str] = field(default_factory=list)
    kube_proxy: bool = False
    #: HOST:PORT at which nodes reach the API, as kubeadm noted it for those that join
    endpoint: str = ""
    #: names of Cilium's certificates that are there, never their content
    secrets: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, t.Any]:
        """Return plain data."""
        return asdict(self)


def _there(api: Api, path: str) -> bool:
    answer = api.request(path)
    if answer.ok or answer.status == 404:
        return answer.ok
    raise PodNetworkError(f"{path}: {answer.status or 'no answer'}: {answer.body[:300]}")


def _endpoint(api: Api) -> str:
    answer = api.request(CLUSTER_INFO)
    noted = ((answer.json() or {}).get("data") or {}).get("kubeconfig", "") if answer.ok else ""
    match = re.search(r"^\s*server: https://(\S+)$", noted, re.MULTILINE)
    return match.group(1) if match else ""


def look(api: Api) -> PodNetwork:
    """Ask the API what there is."""
    found = PodNetwork(networks=[name for name, path in MARKS.items() if _there(api, path)])
    found.kube_proxy = _there(api, KUBE_PROXY)
    found.endpoint = _endpoint(api)
    if "cilium" in found.networks:
        secrets = "/api/v1/namespaces/kube-system/secrets/"
        found.secrets = [name for name in CILIUM_SECRETS if _there(api, secrets + name)]
    return found


def unmanaged(
    pods: t.Iterable[t.Mapping[str, t.Any]], endpoints: t.Iterable[t.Mapping[str, t.Any]]
) -> list[tuple[str, str]]:
    """Return namespace and name of running pods with an address that Cilium has not given them."""
    known = {(one["metadata"]["namespace"], one["metadata"]["name"]) for one in endpoints}
    found = []
    for pod in pods:
        name = (pod["metadata"]["namespace"], pod["metadata"]["name"])
        running = pod.get("status", {}).get("phase") == "Running" and pod["status"].get("podIP")
        own = not pod.get("spec", {}).get("hostNetwork") and "deletionTimestamp" not in pod["metadata"]
        if running and own and name not in known:
            found.append(name)
    return sorted(found)


def items(api: Api, path: str) -> list[dict[str, t.Any]]:
    """Return the objects of a list."""
    answer = api.request(path)
    if not answer.ok:
        raise PodNetworkError(f"{path}: {answer.status or 'no answer'}: {answer.body[:300]}")
    return list((answer.json() or {}).get("items") or [])


def find_unmanaged(api: Api) -> list[tuple[str, str]]:
    """Ask the API for the pods that Cilium does not know."""
    return unmanaged(items(api, "/api/v1/pods"), items(api, "/apis/cilium.io/v2/ciliumendpoints"))


def restart(api: Api, pods: t.Iterable[tuple[str, str]]) -> None:
    """Delete pods, so that what owns them makes them anew."""
    for namespace, name in pods:
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        answer = api.request(path, "DELETE")
        if not answer.ok and answer.status != 404:
            raise PodNetworkError(f"DELETE {path}: {answer.status or 'no answer'}: {answer.body[:300]}")
