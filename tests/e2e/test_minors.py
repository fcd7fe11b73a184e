# SPDX-License-Identifier: GPL-3.0-or-later
"""The oldest and the newest Kubernetes that the catalogue has, and CRI-O, as far as the bundle holds them."""

from __future__ import annotations

import json
import os
import shlex
from typing import Any

import pytest

from bundle import catalogue, places
from kubestead.exit_codes import ExitCode
from lab import cgroups
from tests.e2e.cluster_lab import ClusterLab, changes, trips
from tests.figures import tell

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

CONTROL_PLANE, WORKER = "minor-cp-1", "minor-worker-1"
NODES = {CONTROL_PLANE, WORKER}
MOST_TRIPS = 25
MINORS = catalogue.load().minors
CASES = [
    (min(MINORS, key=lambda minor: int(minor.split(".")[1])), "containerd"),
    (max(MINORS, key=lambda minor: int(minor.split(".")[1])), "containerd"),
    (catalogue.load().default_minor, "cri-o"),
]
# In a lab that is itself in a bare container nobody may lower an OOM score or have every capability. What
# containerd can be told CRI-O cannot: there runc is asked for no more than what starts it has.
MODEST_RUNC = """#!/usr/bin/python3
import ctypes, json, os, sys
words = sys.argv[1:]
if "create" in words:
    libcap = ctypes.CDLL("libcap.so.2")
    libcap.cap_to_name.restype = ctypes.c_char_p
    bits = next(line for line in open("/proc/self/status") if line.startswith("CapBnd")).split()[1]
    mine = {libcap.cap_to_name(bit).decode().upper() for bit in range(41) if int(bits, 16) >> bit & 1}
    folder = words[1 + next(n for n, word in enumerate(words) if word in ("-b", "--bundle"))]
    with open(folder + "/config.json", "r+") as file, open("/proc/self/oom_score_adj") as own:
        config = json.load(file)
        process = config["process"]
        process["oomScoreAdj"] = max(process.get("oomScoreAdj", 0), int(own.read()))
        for kind, names in process.get("capabilities", {}).items():
            process["capabilities"][kind] = [name for name in names if name in mine]
        file.seek(0)
        json.dump(config, file)
        file.truncate()
os.execv("/usr/sbin/runc", ["runc", *words])
"""


def parts(minor: str) -> set[str]:
    """What the bundle has of a minor."""
    try:
        manifest = json.loads((places.bundle_dir() / places.MANIFEST).read_text())
    except FileNotFoundError:
        return set()
    return {part["name"] for part in manifest["minors"].get(minor, {}).get("parts", [])}


def told(cluster: ClusterLab) -> dict[str, dict[str, Any]]:
    """What each node says of itself."""
    items = json.loads(cluster.kubectl(CONTROL_PLANE, "get", "nodes", "--output=json"))["items"]
    return {item["metadata"]["name"]: item["status"]["nodeInfo"] for item in items}


@pytest.mark.parametrize(("minor", "runtime"), CASES)
def test_a_cluster_is_made_needs_nothing_and_is_taken_apart(
    minor: str, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {"kubernetes"} | ({"crio"} if runtime == "cri-o" else set())
    if lacks := wanted - parts(minor):
        more = " --with crio" if "crio" in lacks else ""
        pytest.skip(
            f"the bundle has no {' and '.join(sorted(lacks))} for {minor}: "
            f"./deploy.sh bundle --from modules --minor {minor}{more}"
        )
    monkeypatch.setenv("KUBESTEAD_KUBERNETES_MINOR", minor)
    variables = {"container_runtime": runtime.replace("-", "")}
    cluster = ClusterLab("e2e-minor", {CONTROL_PLANE: "10.77.0.11"}, {WORKER: "10.77.0.21"}, **variables)
    with cluster.standing():
        if runtime == "cri-o" and cgroups.mode() is cgroups.Mode.BARE_V1:
            write = f"printf %s {shlex.quote(MODEST_RUNC)} > /usr/local/sbin/runc"
            for node in NODES:
                cluster.on(node, f"{write}; chmod 755 /usr/local/sbin/runc")
        made = cluster.play()
        assert made.code == ExitCode.DONE, made.message
        nodes = told(cluster)
        assert cluster.nodes(CONTROL_PLANE) == dict.fromkeys(NODES, True)
        assert {node["kubeletVersion"].rpartition(".")[0] for node in nodes.values()} == {f"v{minor}"}
        assert {node["containerRuntimeVersion"].split(":")[0] for node in nodes.values()} == {runtime}
        tell(f"Kubernetes {minor}: {nodes[WORKER]['containerRuntimeVersion']}")
        again = cluster.play()
        assert again.code == ExitCode.DONE, again.message
        assert changes(again) == {}
        assert max(trips(again).values()) <= MOST_TRIPS
        reset = cluster.play("reset", ("-e", "cluster_reset_confirm=true"))
        assert reset.code == ExitCode.DONE, reset.message
