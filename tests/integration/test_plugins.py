# SPDX-License-Identifier: GPL-3.0-or-later
"""Every plugin that has to do with the registry or the State API, against a real one, under both Ansibles."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

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

    def live_inventory(self) -> Any:
        """What the inventory plugin makes of the API's registry."""
        source = self.folder / "live.kubestead.yml"
        source.write_text("plugin: kubestead.homelab.registry\nsource: api\n")
        named = {
            "KUBESTEAD_API_URL": self.url,
            "KUBESTEAD_API_TOKEN_FILE": str(self.folder / "token"),
            "KUBESTEAD_API_CA_FILE": str(self.ca_file),
        }
        done = subprocess.run(
            [self.programs / "ansible-inventory", f"--inventory={source}", "--list", "--export"],
            cwd=CHECKOUT,
            env=environment(self.programs, **named),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        # How the newest shows text that is no template.
        return json.loads(done.stdout, object_hook=lambda value: value.get("__ansible_unsafe", value))

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

    live = site.live_inventory()
    assert live["feature_storage"]["hosts"] == ["spare-1"]
    assert live["_meta"]["hostvars"]["spare-1"]["machine_labels"] == {"rack": "left"}

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


PHASES = """\
- hosts: cp-1
  gather_facts: false
  vars: {kubestead_phase: %s}
  tasks: [{ansible.builtin.ping: }]
"""


@pytest.mark.parametrize("version", [NEWEST, OLDEST])
def test_the_callback_finds_the_api_by_what_its_role_has_left(version: str, tmp_path: Path) -> None:
    programs = programs_of(version)
    kept = tmp_path / "cache" / "state-api"
    kept.mkdir(parents=True)
    (tmp_path / "api").mkdir()

    def run(*phases: str) -> None:
        (tmp_path / "play.yml").write_text("".join(PHASES % phase for phase in phases))
        done = subprocess.run(
            [programs / "ansible-playbook", f"--inventory={tmp_path / 'hosts.json'}", tmp_path / "play.yml"],
            cwd=CHECKOUT,
            env=environment(programs, KUBESTEAD_CACHE=str(tmp_path / "cache")),
            capture_output=True,
            text=True,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        assert "State API" not in said

    with tls_api(tmp_path / "api") as (url, ca_file):
        client = StateApiClient(url, BEARER, ca_file=str(ca_file))
        shutil.copy(ca_file, kept / "pxe.ca.crt")
        (kept / "pxe.token").write_text(BEARER)
        server = {"ansible_host": "127.0.0.1", "state_api_port": int(url.rpartition(":")[2])}
        machine = {
            "machine_mac": CP,
            "ansible_connection": "local",
            "ansible_python_interpreter": str(programs / "python"),
        }
        groups = {"state_api": {"hosts": {"pxe": server}}, "k": {"hosts": {"cp-1": machine}}}
        (tmp_path / "hosts.json").write_text(json.dumps({"all": {"children": groups}}))
        found = []
        for phases in (["prepare"], ["prepare", "validate"], ["prepare"], ["reset"]):
            run(*phases)
            found.append(client.machine(CP)["state"])
        assert found == ["installed", "ready", "ready", "installed"]
        kinds = [(event["kind"], event["state"]) for event in client.events(after=0)]
        assert ("transition", "provisioning") in kinds


PYTHON_TESTS = (
    "tests/unit/test_containerd_hosts.py",
    "tests/integration/test_managed_files.py",
    "tests/unit/test_plugins_changes.py",
    "tests/unit/test_plugins_place.py",
    "tests/unit/test_plugins_reporter.py",
    "tests/unit/test_plugins_waiting.py",
)


def test_the_tests_of_plugins_under_the_oldest_ansible() -> None:
    programs = programs_of(OLDEST)
    callback = "tests/integration/test_plugins_callback.py"
    done = subprocess.run(
        [programs / "python", "-m", "pytest", "-p", "no:cacheprovider", *PYTHON_TESTS, callback],
        cwd=CHECKOUT,
        env=environment(programs, PYTHONPATH=str(CHECKOUT / "src")),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " skipped" not in done.stdout


KINDS = ("module", "lookup", "filter", "inventory", "callback")


@pytest.mark.parametrize("version", [NEWEST, OLDEST])
def test_ansible_doc_shows_every_plugin(version: str) -> None:
    programs = programs_of(version)
    for kind in KINDS:
        folder = CHECKOUT / "plugins" / {"module": "modules"}.get(kind, kind)
        names = [
            f"kubestead.homelab.{path.stem}"
            for path in sorted(folder.glob("*.py"))
            if path.stem != "__init__"
        ]
        assert names
        done = subprocess.run(
            [programs / "ansible-doc", "--type", kind, "--json", *names],
            cwd=CHECKOUT,
            env=environment(programs),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        shown = json.loads(done.stdout)
        assert sorted(shown) == names
        for name, texts in shown.items():
            assert texts["doc"]["short_description"], name
            assert (texts["examples"] or "").strip(), f"{name} has no example"
            assert kind in ("inventory", "callback") or texts["return"], (
                f"{name} does not say what it returns"
            )


GROUP = "kubestead.homelab.state_api"


def test_module_defaults_reach_each_module_that_asks_the_api() -> None:
    groups = yaml.safe_load((CHECKOUT / "meta" / "runtime.yml").read_text())["action_groups"]
    asking = []
    for path in sorted((CHECKOUT / "plugins" / "modules").glob("*.py")):
        documentation = re.search(r'DOCUMENTATION = r"""(.*?)"""', path.read_text(), re.DOTALL)
        assert documentation
        fragments = yaml.safe_load(documentation[1]).get("extends_documentation_fragment", [])
        if GROUP in fragments:
            assert f"{GROUP}.module" in fragments, f"{path.name} does not say that it is in the group"
            asking.append(path.stem)
    assert asking == sorted(groups["state_api"])
