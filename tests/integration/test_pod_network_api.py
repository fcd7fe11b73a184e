# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role cni applies of Calico and Cilium, held against a real API server.

Calico's kinds come from its operator, Cilium's chart and kinds from Cilium, both as published Go modules,
helm from the bundle.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from bundle import catalogue, places
from tests.integration.control_plane_programs import lack, run
from tests.unit.pod_network_templates import CALICO, CILIUM, render

pytestmark = pytest.mark.skipif(bool(lack()), reason=lack())

VERSIONS = yaml.safe_load(places.CATALOGUE.read_text())["versions"][catalogue.load().default_minor]
MORE_OF_CILIUM = {
    "cni_cilium_kube_proxy_replacement": True,
    "cni_cilium_l2_announcements": True,
    "cni_cilium_l2_interfaces": ["^en.*"],
    "cni_load_balancer_ranges": ["10.0.0.64/28"],
    "cni_cilium_gateway": "ingress",
}


def module(name: str, version: str) -> Path:
    """The folder of a published Go module."""
    if shutil.which("go") is None:
        pytest.skip("there is no Go client (golang-go) that fetches modules")
    done = subprocess.run(
        ["go", "mod", "download", "-json", f"{name}@v{version}"],
        cwd="/", env={**os.environ, "GOFLAGS": "-mod=mod"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"the module {name} cannot be fetched: {done.stdout[-300:]}{done.stderr[-300:]}")
    return Path(json.loads(done.stdout)["Dir"])


def kinds(folder: Path, *names: str) -> list[Any]:
    """The definitions of these kinds in the files of a folder."""
    files = sorted(folder.rglob("*.yaml"))
    found = [one for path in files for one in yaml.safe_load_all(path.read_text()) if one]
    wanted = [one for one in found if one["spec"]["names"]["kind"] in names]
    assert len(wanted) == len(names), f"{folder} has not all of {names}"
    return wanted


def ask(folder: Path, **files: list[Any]) -> dict[str, list[str]]:
    """What the API refuses, file by file."""
    (folder / "objects").mkdir()
    for number, (name, content) in enumerate(files.items()):
        (folder / "objects" / f"{number} {name}.json").write_text(json.dumps(content))
    told: dict[str, list[str]] = run("tests.integration.real_api", folder)
    return {name.partition(" ")[2]: refused for name, refused in told.items()}


def helm(folder: Path) -> Path:
    """The bundle's helm."""
    found = sorted(places.bundle_dir().glob("files/*/helm-v*.tar.gz"))
    if not found:
        pytest.skip("the bundle has no helm: ./deploy.sh bundle --from modules --with helm")
    with tarfile.open(found[-1]) as archive:
        [entry] = [one for one in archive if Path(one.name).name == "helm"]
        content = archive.extractfile(entry)
        assert content is not None
        (folder / "helm").write_bytes(content.read())
    (folder / "helm").chmod(0o755)
    return folder / "helm"


def test_calicos_operator_is_told_what_it_understands(tmp_path: Path) -> None:
    operator = module("github.com/tigera/operator", VERSIONS["calico_operator"])
    more = {"cni_pod_subnet": "10.244.0.0/16, fd00:1::/48", "cni_mtu": 1400, "cni_calico_api_server": True}
    wrong = [{**render("calico.yaml.j2", CALICO)[0], "spec": {"calicoNetwork": {"ippools": []}}}]
    told = ask(
        tmp_path,
        kinds=kinds(operator / "pkg/imports/crds/operator", "Installation", "APIServer"),
        plain=render("calico.yaml.j2", CALICO),
        more=render("calico.yaml.j2", {**CALICO, **more}),
        wrong=wrong,
    )
    assert (told["kinds"], told["plain"], told["more"]) == ([], [], [])
    assert "ippools" in told["wrong"][0], "a field that there is not is refused"


@pytest.mark.parametrize("more", [{}, MORE_OF_CILIUM], ids=["plain", "more"])
def test_the_api_takes_what_ciliums_chart_makes(tmp_path: Path, more: dict[str, Any]) -> None:
    program = helm(tmp_path)
    cilium = module("github.com/cilium/cilium", VERSIONS["cilium"])
    given = {**CILIUM, **more}
    [values] = render("cilium-values.yaml.j2", given)
    rendered = subprocess.run(
        [
            program, "template", "cilium", cilium / "install/kubernetes/cilium", "--namespace=kube-system",
            f"--kube-version=v{VERSIONS['kubernetes']}", "--values=-",
        ],
        input=json.dumps(values), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert rendered.returncode == 0, rendered.stderr
    chart = [one for one in yaml.safe_load_all(rendered.stdout) if one]
    assert {"DaemonSet", "Deployment", "ConfigMap"} <= {one["kind"] for one in chart}
    told = ask(
        tmp_path,
        kinds=kinds(
            cilium / "pkg/k8s/apis/cilium.io/client/crds",
            "CiliumLoadBalancerIPPool",
            "CiliumL2AnnouncementPolicy",
        ),
        spaces=[one for one in chart if one["kind"] == "Namespace"],
        chart=[one for one in chart if one["kind"] != "Namespace"],
        l2=render("cilium-l2.yaml.j2", given),
    )
    assert told == {"kinds": [], "spaces": [], "chart": [], "l2": []}
