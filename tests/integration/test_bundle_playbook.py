# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook that makes a bundle; another bundle's server stands for the public homes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bundle import assemble, oci, server, verify
from tests.integration.ansible_cores import CHECKOUT, NEWEST, OLDEST, environment, programs_of
from tests.integration.needs import require
from tests.unit.bundle_sample import MINOR, sample
from tests.unit.test_bundle_fetch import running

__all__ = ["sample"]


@pytest.fixture(autouse=True)
def _programs() -> None:
    for program, package in (("dpkg-deb", "dpkg"), ("gpg", "gpg"), ("gpg-agent", "gpg-agent")):
        require(program, package)


class Maker:
    """Runs the playbook with a core, for a folder, from a base address."""

    def __init__(self, core: str, base: str, folder: Path, cache: Path) -> None:
        self.programs, self.base, self.folder, self.cache = programs_of(core), base, folder, cache

    def run(self, *more: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        """One run."""
        told = {
            "bundle_folder": str(self.folder),
            "bundle_addons": ["helm"],
            "artifacts_kubernetes_repository": f"{self.base}/apt/v{MINOR}/",
            "artifacts_image_mirror": self.base,
            "artifacts_binaries_mirror": f"{self.base}/files",
            **variables,
        }
        command = [
            str(self.programs / "ansible-playbook"),
            "--inventory",
            "localhost,",
            "playbooks/bundle.yml",
        ]
        return subprocess.run(
            [*command, "--extra-vars", json.dumps(told), *more],
            cwd=CHECKOUT,
            env=environment(self.programs, KUBESTEAD_CACHE=str(self.cache), HOME=os.environ["HOME"]),
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.mark.parametrize("core", [NEWEST, OLDEST])
def test_a_bundle_is_made_listed_and_not_made_again(core: str, sample: Path, tmp_path: Path) -> None:
    """It has all images and files of the original; a second run changes nothing; check mode only tells."""
    folder = tmp_path / "bundle"
    with running(server.make_server(("127.0.0.1", 0), sample)) as base:
        maker = Maker(core, base, folder, tmp_path / "cache")
        checked = maker.run("--check")
        assert checked.returncode == 0, checked.stdout
        assert "registry.k8s.io/etcd:3.6.8-0" in checked.stdout
        assert not folder.exists()
        first = maker.run()
        assert first.returncode == 0, first.stdout
        assert "changed=1 " in first.stdout
        second = maker.run()
        assert second.returncode == 0, second.stdout
        assert "changed=0 " in second.stdout
    assert verify.verify(folder) == []
    original, made = assemble.read_manifest(sample), assemble.read_manifest(folder)
    assert original is not None
    assert made is not None

    def images(manifest: dict[str, Any]) -> set[tuple[str, str]]:
        """Names and digests."""
        listed = manifest["minors"][MINOR]["images"]
        return {(image["annotations"][oci.REFERENCE], image["digest"]) for image in listed}

    assert images(made) == images(original)
    for path in [p for p in made["files"] if p.startswith(("files/", "bin/")) or p.endswith(".deb")]:
        assert made["files"][path]["sha256"] == original["files"][path]["sha256"], path
        assert path.startswith("bin/kubectl") or path in first.stdout, path


def test_what_cannot_be_reached_is_named_before_anything_is_fetched(sample: Path, tmp_path: Path) -> None:
    """All of it at once, and what to set."""
    folder = tmp_path / "bundle"
    with running(server.make_server(("127.0.0.1", 0), sample)) as base:
        maker = Maker(NEWEST, base, folder, tmp_path / "cache")
        done = maker.run(bundle_addons=["helm", "calico"], artifacts_binaries_mirror=f"{base}/nowhere")
        unknown = maker.run(bundle_addons=["hlem"])
    assert done.returncode != 0
    for name in ("helm-v3.22.0-linux-amd64.tar.gz", "calico-3.32.1-tigera-operator.yaml"):
        assert f"{name}: {base}/nowhere/" in done.stdout
    assert "artifacts_binaries_mirror" in done.stdout
    assert not folder.exists()
    assert "bundle_addons: no add-on is called hlem; there are kube-vip, helm, calico" in unknown.stdout
