# SPDX-License-Identifier: GPL-3.0-or-later
"""Every plugin that has to do with the registry or the State API, against a real one, under both Ansibles."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kubestead.model.state_api_client import StateApiClient
from tests.integration.ansible_cores import CHECKOUT, NEWEST, OLDEST, environment, programs_of
from tests.unit.api_sample import BEARER, CP, WORKER, Files, running

SPARE = "52:54:00:77:00:31"
REGISTRY = {
    CP: {"hostname": "cp-1", "role": "control-plane", "architecture": "amd64"},
    WORKER: {"hostname": "worker-1", "role": "worker", "architecture": "arm64"},
}
HERE = Path(__file__).parent


@dataclass(frozen=True)
class TlsFiles(Files):
    """The API with TLS."""

    pki: Path = Path()

    def arguments(self, port: int) -> list[str]:
        """The command that starts it."""
        tls = ["--tls-certificate", str(self.pki / "server.crt"), "--tls-key", str(self.pki / "server.key")]
        return [*super().arguments(port), *tls]


@contextmanager
def tls_api(folder: Path) -> Iterator[tuple[str, Path]]:
    """The real program with TLS; its address, and the file of its CA."""
    files = TlsFiles(folder / "token", folder / "machines.db", folder / "registry.json", folder / "pki")
    files.token.touch(mode=0o600)
    files.token.write_text(BEARER + "\n")
    files.registry.write_text(json.dumps(REGISTRY))
    made = [sys.executable, "-m", "kubestead.pki", "ensure", "--dir", str(files.pki), "--name", "127.0.0.1"]
    subprocess.run(made, check=True, capture_output=True)
    with running(files) as api:
        yield api.url.replace("http://", "https://"), files.pki / "ca.crt"


class Site:
    """An API, an inventory, and an Ansible to run the playbook with."""

    def __init__(self, folder: Path, version: str, url: str, ca_file: Path) -> None:
        self.folder, self.url, self.ca_file = folder, url, ca_file
        self.programs = programs_of(version)
        self.inventory = folder / "inventory"
        shutil.copytree(HERE / "plugins" / "inventory", self.inventory)

    def play(self, *arguments: str, **variables: Any) -> tuple[str, dict[str, dict[str, int]]]:
        """Run the playbook; what it said, and the counts by host."""
        settings = {
            "api_url": self.url,
            "api_token_file": str(self.folder / "token"),
            "api_ca_file": str(self.ca_file),
            "folder": str(self.folder),
            "ansible_python_interpreter": str(self.programs / "python"),
            **variables,
        }
        summary = self.folder / "summary.json"
        summary.unlink(missing_ok=True)
        done = subprocess.run(
            [
                self.programs / "ansible-playbook",
                f"--inventory={self.inventory}",
                f"--extra-vars={json.dumps(settings)}",
                *arguments,
                HERE / "plugins" / "every_plugin.yml",
            ],
            cwd=CHECKOUT,
            env=environment(self.programs, KUBESTEAD_SUMMARY_FILE=str(summary)),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        assert BEARER not in said
        hosts: dict[str, dict[str, int]] = json.loads(summary.read_text())["hosts"]
        return said, hosts

    def everything(self) -> Any:
        """What the API and the files hold."""
        client = StateApiClient(self.url, BEARER, ca_file=str(self.ca_file))
        try:
            return {
                "machines": client.machines(),
                "registry": client.registry()["text"],
                "claims": client.claims(),
                "data": client.data_keys(SPARE),
                "file": (self.inventory / "registry.json").read_text(),
                "copied": (self.folder / "copy.json").exists(),
            }
        finally:
            client.close()


@pytest.fixture(params=[NEWEST, OLDEST])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """One for each Ansible."""
    with tls_api(tmp_path) as (url, ca_file):
        yield Site(tmp_path, request.param, url, ca_file)


def test_every_plugin(site: Site) -> None:
    fresh = site.everything()
    said, hosts = site.play("--check", first=True)
    assert site.everything() == fresh, "check mode has changed something"
    assert hosts["controller"]["changed"] == 8, said

    said, hosts = site.play(first=True)
    assert hosts["controller"]["changed"] == 9, said
    assert "did not reach the State API" not in said
    assert "The State API refused" not in said
    after = site.everything()
    machines = after["machines"]
    assert {mac: machines[mac]["state"] for mac in machines} == {
        CP: "ready",
        WORKER: "ready",
        SPARE: "approved",
    }
    assert (machines[SPARE]["phase"], machines[SPARE]["progress"]) == ("burn-in", 40)
    assert machines[SPARE]["feature_status"] == {"storage": "checked"}
    assert machines[SPARE]["message"] == "{{ 6 * 7 }}"
    assert (machines[WORKER]["locked"], machines[CP]["locked"]) == (True, False)
    entry = json.loads(after["registry"])[SPARE]
    assert (entry["features"], entry["labels"]) == (["storage"], {"rack": "left"})
    assert json.loads(after["file"])["52:54:00:77:00:22"]["hostname"] == "worker-2"
    assert after["claims"][0]["state"] == "initialized"

    said, hosts = site.play(first=False)
    assert {host: count["changed"] for host, count in hosts.items() if count["changed"]} == {}, said
    again = site.everything()
    for each in (after, again):  # the callback's reports are new ones
        for mac in (CP, WORKER):
            for key in ("updated_at", "since", "version"):
                del each["machines"][mac][key]
    assert again == after

    said, hosts = site.play(first=False, last=True)
    assert site.everything()["machines"][SPARE]["state"] == "provisioning"
