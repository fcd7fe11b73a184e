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
from typing import Any

import pytest
import yaml

from bundle import catalogue, places
from bundle.oci import REFERENCE
from bundle.probe import PUBLIC
from kubestead.exit_codes import ExitCode
from lab.software import choose
from tests.e2e.cluster_lab import ClusterLab, changes, eventually, trips
from tests.figures import tell

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

CONTROL_PLANE, WORKER = "net-cp-1", "net-worker-1"
NODES = {CONTROL_PLANE, WORKER}
MOST_TRIPS = 25
# An image that says whether a bundle has all of them, and what a lab in a bare container needs: its kernel
# may have no WireGuard, and not all that the chart asks for can be had there.
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "calico": ("quay.io/calico/node", {}),
    "cilium": (
        "quay.io/cilium/cilium",
        {
            "cni_cilium_wireguard": False,
            "cni_cilium_hubble_relay": False,
            "cni_cilium_values": {
                "securityContext": {"privileged": True},
                "envoy": {"enabled": False},
                "l7Proxy": False,
            },
        },
    ),
}
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
    image = f"{NETWORKS[plugin][0]}:v{version}"
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


@pytest.mark.parametrize("plugin", NETWORKS)
def test_its_pods_carry_and_filter(plugin: str) -> None:
    if reason := lacks(plugin):
        pytest.skip(reason)
    variables = {"cni_plugin": plugin, **NETWORKS[plugin][1]}
    cluster = Cluster("e2e-net", {CONTROL_PLANE: "10.77.0.11"}, {WORKER: "10.77.0.21"}, **variables)
    with cluster.standing():
        began = time.monotonic()
        made = cluster.play()
        assert made.code == ExitCode.DONE, made.message
        tell(f"{plugin}: a cluster in {time.monotonic() - began:.0f} s")
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
