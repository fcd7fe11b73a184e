# SPDX-License-Identifier: GPL-3.0-or-later
"""Calico and Cilium in place of flannel, with their own pods, as far as their images can be had.

flannel is the network of all other clusters of these tests, and filters nothing: that a policy keeps a pod
out shows whose network it is.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
import yaml

from bundle import catalogue, places
from bundle.oci import REFERENCE
from bundle.probe import PUBLIC
from kubestead.exit_codes import ExitCode
from lab import network
from lab.software import choose
from tests.e2e.cluster_lab import ClusterLab, changes, eventually, trips
from tests.figures import tell

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

CONTROL_PLANE, WORKER = "net-cp-1", "net-worker-1"
NODES = {CONTROL_PLANE, WORKER}
MOST_TRIPS = 25
# What the chart asks for and a lab in a bare container cannot give; its kernel may have no WireGuard either.
LABS_CILIUM = {
    "cni_plugin": "cilium",
    "cni_cilium_wireguard": False,
    "cni_cilium_hubble_relay": False,
    "cni_cilium_values": {
        "securityContext": {"privileged": True},
        "envoy": {"enabled": False},
        "l7Proxy": False,
    },
}
ADDRESSES = "10.77.0.240/28"
NETWORKS: dict[str, dict[str, Any]] = {
    "calico": {"cni_plugin": "calico"},
    "cilium": LABS_CILIUM,
    "cilium in place of kube-proxy": {
        **LABS_CILIUM,
        "cni_cilium_l2_announcements": True,
        "cni_cilium_l2_interfaces": ["^eth.*"],
        "cni_load_balancer_ranges": [ADDRESSES],
    },
}
# The image that tells whether a bundle has all of them.
IMAGES = {"calico": "quay.io/calico/node", "cilium": "quay.io/cilium/cilium"}
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 0
  tolerations: [{{operator: Exists}}]
  containers:
    - name: main
      image: {image}
      command: [sh, -c, "mkdir /www && hostname > /www/index.html && exec httpd -f -p 8080 -h /www"]
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: far}
spec:
  type: LoadBalancer
  selector: {app: far}
  ports: [{port: 8080}]
"""
NOBODY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: nobody}
spec:
  podSelector: {matchLabels: {app: far}}
  policyTypes: [Ingress]
"""


def lacks(plugin: str) -> str:
    """Why its pods cannot run here."""
    software = choose()
    if software.kind == PUBLIC:
        return ""
    version = yaml.safe_load(places.CATALOGUE.read_text())["versions"][software.minor][plugin]
    image = f"{IMAGES[plugin]}:v{version}"
    try:
        listed = json.loads((places.bundle_dir() / "images" / "index.json").read_text())["manifests"]
    except FileNotFoundError:
        listed = []
    if image in {one["annotations"][REFERENCE] for one in listed}:
        return ""
    return f"no source has {image}: playbooks/bundle.yml fetches it where the internet is"


class Cluster(ClusterLab):
    """A lab's cluster with pods that are asked and ask."""

    def apply(self, manifest: str) -> None:
        """Have the cluster take a manifest."""
        words = ["kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "apply", "-f", "-"]
        argv = self.lab.ssh_argv(CONTROL_PLANE, words)
        done = subprocess.run(argv, input=manifest, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr

    def reaches(self, source: str, address: str) -> bool:
        """Whether a pod gets a page from an address."""
        words = ["kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "exec", source, "--"]
        # Its wget does not know how long to wait.
        asks = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 4 {address} 8080 | grep -q ' 200 '"
        return self.lab.ssh(CONTROL_PLANE, [*words, "sh", "-c", asks], timeout=60).returncode == 0

    def address_of(self, service: str) -> str:
        """The address that a service is given for the world outside; empty as long as it has none."""
        path = "jsonpath={.status.loadBalancer.ingress[0].ip}"
        return self.kubectl(CONTROL_PLANE, "get", "service", service, "-o", path).strip()

    def answers_outside(self, address: str) -> bool:
        """Whether somebody in the nodes' network, who is none of them, gets a page from an address."""

        def asked() -> bool:
            try:
                with urllib.request.urlopen(f"http://{address}:8080/", timeout=3) as answer:
                    return bool(answer.status == 200)
            except OSError:
                return False

        return network.inside(self.lab.namespace, asked)


@pytest.mark.parametrize("network_of", NETWORKS)
def test_its_pods_carry_and_filter(network_of: str) -> None:
    variables = NETWORKS[network_of]
    if reason := lacks(variables["cni_plugin"]):
        pytest.skip(reason)
    cluster = Cluster("e2e-net", {CONTROL_PLANE: "10.77.0.11"}, {WORKER: "10.77.0.21"}, **variables)
    with cluster.standing():
        began = time.monotonic()
        made = cluster.play()
        assert made.code == ExitCode.DONE, made.message
        tell(f"{network_of}: a cluster in {time.monotonic() - began:.0f} s")
        assert cluster.nodes(CONTROL_PLANE) == dict.fromkeys(NODES, True)

        known = catalogue.load()
        image = f"{known.library_images}/busybox:{known.versions(known.default_minor).busybox}"
        for name, node in (("near", CONTROL_PLANE), ("far", WORKER)):
            cluster.apply(POD.format(name=name, node=node, image=image))
        cluster.kubectl(
            CONTROL_PLANE, "wait", "--for=condition=Ready", "pod/near", "pod/far", "--timeout=120s"
        )
        address = cluster.kubectl(
            CONTROL_PLANE, "get", "pod", "far", "-o", "jsonpath={.status.podIP}"
        ).strip()
        assert eventually(lambda: cluster.reaches("near", address), 30), "pods reach each other across nodes"
        if "cni_load_balancer_ranges" in variables:
            assert "kube-proxy" not in cluster.kubectl(CONTROL_PLANE, "get", "pods", "-n", "kube-system")
            cluster.apply(SERVICE)
            assert eventually(lambda: bool(cluster.address_of("far")), 60), "the service is given an address"
            given = cluster.address_of("far")
            assert ip_address(given) in ip_network(ADDRESSES)
            assert eventually(lambda: cluster.answers_outside(given), 60), "a node answers for it"
            cluster.kubectl(CONTROL_PLANE, "delete", "service/far")
        cluster.apply(NOBODY)
        assert eventually(lambda: not cluster.reaches("near", address), 60), "a policy keeps pods out"
        cluster.kubectl(CONTROL_PLANE, "delete", "networkpolicy/nobody", "pod/near", "pod/far")

        again = cluster.play()
        assert again.code == ExitCode.DONE, again.message
        assert changes(again) == {}
        assert max(trips(again).values()) <= MOST_TRIPS
        reset = cluster.play("reset", ("-e", "cluster_reset_confirm=true"))
        assert reset.code == ExitCode.DONE, reset.message
        for node in NODES:
            links = cluster.on(node, "ip", "-oneline", "link")
            assert "cilium" not in links
            assert "cali" not in links
            assert cluster.on(node, "ls", "/etc/cni/net.d") == ""
