# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory plugin as ansible-inventory runs it, under the newest and the oldest ansible-core."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kubestead.model.state_api_client import StateApiClient
from kubestead.store import StateReport, Store
from tests.integration.ansible_cores import CHECKOUT, NEWEST, OLDEST, environment, programs_of
from tests.unit.api_sample import BEARER, Files, running

REGISTRY: dict[str, dict[str, Any]] = {
    "52:54:00:77:00:11": {
        "hostname": "lab-cp-1",
        "role": "control-plane",
        "architecture": "x86_64",
        "features": ["kubernetes"],
        "ip": "10.77.0.11",
        "specs": {"cpu": "{{ 6 * 7 }}", "memory": "64GB"},
        "os": "debian-12",
        "labels": {"rack": "a1"},
        "taints": ["dedicated=media:NoSchedule"],
        "rack": "{% raw %}",
    },
    "52-54-00-77-00-21": {
        "hostname": "lab-worker-1",
        "role": "worker",
        "architecture": "arm64",
        "features": ["kubernetes", "gpu"],
        "os": "ubuntu-24.04",
        "cluster": "second-one",
        "distribution": "k3s",
    },
    "52:54:00:77:00:31": {"hostname": "lab-compute-1", "role": "compute", "architecture": "amd64"},
}
SERVERS = """\
pxe_server:
  hosts:
    lab-pxe: {ansible_host: 10.77.0.10}
state_api:
  children:
    pxe_server:
k8s:
  children:
    kubeadm:
"""


@dataclass(frozen=True)
class Said:
    """What Ansible has said, however it has broken the lines: at hyphens too."""

    text: str

    def __contains__(self, sentence: str) -> bool:
        return "".join(sentence.split()) in "".join(self.text.split())


class Site:
    """An inventory's folder as a user has it: plugin options, registry, static hosts. And an Ansible."""

    def __init__(self, folder: Path, version: str) -> None:
        self.folder, self.registry, self.version = folder, folder / "registry.json", version
        self._programs = programs_of(version)
        self.options()
        self.write(REGISTRY)
        (folder / "servers.yml").write_text(SERVERS, encoding="utf-8")

    def options(self, **options: Any) -> None:
        """Write the plugin's options. JSON is YAML."""
        text = json.dumps({"plugin": "kubestead.homelab.registry", **options})
        (self.folder / "kubestead.yml").write_text(text, encoding="utf-8")

    def write(self, registry: Any) -> None:
        """Write the registry."""
        self.registry.write_text(json.dumps(registry), encoding="utf-8")

    def run(self, program: str, *arguments: str | Path, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run a program of Ansible from the checkout."""
        return subprocess.run(
            [self._programs / program, "-i", self.folder, *arguments],
            cwd=CHECKOUT,
            env=environment(self._programs, **settings),
            capture_output=True,
            text=True,
            check=False,
        )

    def listed(self, *arguments: str, **settings: str) -> tuple[Any, Said]:
        """What `ansible-inventory --list` shows, and what it warns of."""
        done = self.run("ansible-inventory", "--list", "--export", *arguments, **settings)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout, object_hook=lambda value: value.get("__ansible_unsafe", value))
        return found, Said(done.stderr)

    def hosts(self, *arguments: str, **settings: str) -> dict[str, Any]:
        """The variables of all hosts."""
        variables: dict[str, Any] = self.listed(*arguments, **settings)[0]["_meta"]["hostvars"]
        return variables

    def refused(self, *arguments: str, **settings: str) -> Said:
        """What is said by an Ansible that does not go on."""
        done = self.run("ansible-inventory", "--list", *arguments, **settings)
        assert done.returncode != 0, done.stdout
        assert "Traceback" not in done.stderr
        return Said(done.stderr)


@pytest.fixture(params=[NEWEST, OLDEST])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    """One for each Ansible."""
    folder = tmp_path / "inventory"
    folder.mkdir()
    return Site(folder, request.param)


def test_groups_and_variables(site: Site) -> None:
    found, _ = site.listed()
    groups = {name: sorted(group.get("hosts", [])) for name, group in found.items() if name != "_meta"}
    assert {name: hosts for name, hosts in groups.items() if hosts} == {
        "control_plane": ["lab-cp-1"],
        "worker": ["lab-worker-1"],
        "compute": ["lab-compute-1"],
        "feature_kubernetes": ["lab-cp-1", "lab-worker-1"],
        "feature_gpu": ["lab-worker-1"],
        "arch_amd64": ["lab-compute-1", "lab-cp-1"],
        "arch_arm64": ["lab-worker-1"],
        "os_debian_12": ["lab-cp-1"],
        "os_ubuntu_24_04": ["lab-worker-1"],
        "cluster_homelab": ["lab-compute-1", "lab-cp-1"],
        "cluster_second_one": ["lab-worker-1"],
        "kubeadm": ["lab-cp-1"],
        "k3s": ["lab-worker-1"],
        "pxe_server": ["lab-pxe"],
    }
    assert {"feature_nfs", "feature_monitoring", "rke2"} <= {*found["all"]["children"]}
    hosts = found["_meta"]["hostvars"]
    record = {
        "mac": "52:54:00:77:00:11",
        "role": "control-plane",
        "architecture": "amd64",
        "features": ["kubernetes"],
        "ip": "10.77.0.11",
        "specs": {"cpu": "{{ 6 * 7 }}", "memory": "64GB"},
        "os": "debian-12",
        "cluster": "homelab",
        "distribution": "kubeadm",
        "labels": {"rack": "a1"},
        "taints": [{"key": "dedicated", "value": "media", "effect": "NoSchedule"}],
        "locked": False,
        "rack": "{% raw %}",
    }
    first = dict(hosts["lab-cp-1"])
    assert first.pop("machine") == {**record, "hostname": "lab-cp-1"}
    assert first == {
        "ansible_host": "10.77.0.11",
        **{f"machine_{key}": value for key, value in record.items()},
    }
    assert hosts["lab-worker-1"]["machine_mac"] == "52:54:00:77:00:21"
    assert "ansible_host" not in hosts["lab-worker-1"]
    assert "machine_os" not in hosts["lab-compute-1"]


def test_the_graph_shows_both_files(site: Site) -> None:
    done = site.run("ansible-inventory", "--graph")
    assert done.returncode == 0, done.stderr
    assert "  |--@state_api:\n  |  |--@pxe_server:\n  |  |  |--lab-pxe\n" in done.stdout
    assert "  |--@k8s:\n  |  |--@kubeadm:\n  |  |  |--lab-cp-1\n" in done.stdout
    assert done.stderr.count("the key rack is not known; it is kept.") == 1


def test_text_of_the_registry_is_no_template(site: Site) -> None:
    message = "msg='{{ machine_specs.cpu }} {{ machine_rack }} {{ machine.specs.cpu }}'"
    done = site.run("ansible", "lab-cp-1", "-c", "local", "-m", "ansible.builtin.debug", "-a", message)
    assert done.returncode == 0, done.stderr
    assert "{{ 6 * 7 }} {% raw %} {{ 6 * 7 }}" in done.stdout


def test_constructed_options(site: Site) -> None:
    site.options(
        registry="more/machines.yml",
        strict=True,
        compose={"rack": "machine_labels.rack | default('none')"},
        groups={"big": "'64' in machine_specs.memory | default('')"},
        keyed_groups=[
            {"key": "rack", "prefix": "rack"},
            {"key": "machine.architecture", "prefix": "", "separator": ""},
            {"key": "machine_features"},
        ],
        leading_separator=False,
    )
    (site.folder / "more").mkdir()
    site.registry.rename(site.folder / "more" / "machines.yml")
    found, _ = site.listed()
    assert found["big"]["hosts"] == ["lab-cp-1"]
    assert found["rack_a1"]["hosts"] == ["lab-cp-1"]
    assert found["rack_none"]["hosts"] == ["lab-worker-1", "lab-compute-1"]
    assert found["arm64"]["hosts"] == ["lab-worker-1"]
    assert found["gpu"]["hosts"] == ["lab-worker-1"], "without leading_separator it would be _gpu"
    site.options(registry="more/machines.yml", strict=True, compose={"rack": "machine_nothing.at_all"})
    assert "machine_nothing" in site.refused()


def test_a_registry_with_problems_stops_the_run_and_lists_them_all(site: Site) -> None:
    site.write({**REGISTRY, "52:54:00:77:00:41": {"hostname": "lab-cp-1", "role": "boss"}})
    said = site.refused()
    place = f"{site.registry}: 52:54:00:77:00:41"
    assert "The machine registry has 3 problems; correct the file and run again." in said
    assert f'{place}: role is "boss", expected control-plane, worker or compute' in said
    assert f"{place}: architecture is missing, expected amd64 or arm64" in said
    assert f'{place}: hostname is "lab-cp-1", expected one of its own: 52:54:00:77:00:11 has the same' in said


def test_other_files_are_left_to_other_plugins(site: Site) -> None:
    (site.folder / "kubestead.yml").rename(site.folder / "kubestead.txt")
    assert set(site.hosts()) == {"lab-pxe"}


def test_groups_and_variables_for_kubespray(site: Site) -> None:
    site.options(kubespray_groups=True)
    found, _ = site.listed()
    assert found["kube_control_plane"]["hosts"] == found["etcd"]["hosts"] == ["lab-cp-1"]
    assert "hosts" not in found.get("kube_node", {}), "the worker belongs to k3s"
    assert sorted(found["k8s_cluster"]["children"]) == ["kube_control_plane", "kube_node"]
    variables = found["_meta"]["hostvars"]["lab-cp-1"]
    assert variables["ip"] == variables["access_ip"] == "10.77.0.11"
    assert variables["node_taints"] == ["dedicated=media:NoSchedule"]
    assert "ip" not in found["_meta"]["hostvars"]["lab-worker-1"]


def test_kubespray_deploys_one_cluster(site: Site) -> None:
    second = {**REGISTRY["52-54-00-77-00-21"], "distribution": "kubeadm", "ip": "fd77::21"}
    site.write({**REGISTRY, "52-54-00-77-00-21": second})
    site.options(kubespray_groups=True)
    assert "say which by kubespray_cluster (homelab, second-one)." in site.refused()
    site.options(kubespray_groups=True, kubespray_cluster="third")
    assert "kubespray_cluster is third, expected a cluster of kubeadm: homelab, second-one." in site.refused()
    site.options(kubespray_groups=True, kubespray_cluster="second-one")
    found, _ = site.listed()
    assert found["kube_node"]["hosts"] == ["lab-worker-1"]
    assert "hosts" not in found.get("kube_control_plane", {})
    assert found["_meta"]["hostvars"]["lab-worker-1"]["access_ip6"] == "fd77::21"


def kept(site: Site, **options: Any) -> Path:
    """Turn the cache on; the folder that it is in."""
    folder = site.folder.parent / "cache"
    site.options(cache=True, cache_plugin="ansible.builtin.jsonfile", cache_connection=str(folder), **options)
    return folder


def test_a_file_in_the_cache_is_read_again_when_it_has_changed(site: Site) -> None:
    site.registry.rename(site.folder / "machines.yml")
    site.registry = site.folder / "machines.yml"
    folder = kept(site, registry="machines.yml", compose={"machine_specs": "{'own': 1}"})
    first, warned = site.listed()
    (file,) = folder.iterdir()
    written = file.stat().st_mtime_ns
    assert "{'own'" not in file.read_text(encoding="utf-8"), "what is composed is not kept"
    assert site.listed() == (first, warned), "with its warnings"
    assert file.stat().st_mtime_ns == written
    site.write(json.loads(json.dumps(REGISTRY).replace("lab-worker-1", "lab-worker-9")))
    assert site.listed()[0]["worker"]["hosts"] == ["lab-worker-9"]
    file.write_text('{"stamp": "no", "text": 7}', encoding="utf-8")
    assert "lab-worker-9" in site.hosts()


@pytest.fixture
def files(site: Site) -> Files:
    """What an API is started on: the same registry, and where the worker was seen last."""
    folder = site.folder.parent / "api"
    folder.mkdir()
    made = Files.make(folder)
    made.registry.write_text(json.dumps(REGISTRY), encoding="utf-8")
    store = Store.at(made.database)
    for mac, address in (("52:54:00:77:00:21", "10.77.0.99"), ("52:54:00:77:00:31", "127.0.0.1")):
        store.record_state(StateReport(mac, "approved", initial="approved", address=address))
    store.close()
    return made


@pytest.fixture
def api(files: Files) -> Iterator[str]:
    """The address of the State API."""
    with running(files) as program:
        yield program.url


def own_names(found: dict[str, Any]) -> set[str]:
    """The machines, without the hosts of the static file beside."""
    return set(found) - {"lab-pxe"}


NAMES = {"lab-cp-1", "lab-worker-1", "lab-compute-1"}


def test_the_live_registry(site: Site, files: Files, api: str) -> None:
    site.options(source="api", api_url=api, api_token_file=str(Path("../api/token")))
    site.registry.unlink()
    found, warned = site.listed()
    hosts = found["_meta"]["hostvars"]
    assert own_names(hosts) == NAMES
    assert hosts["lab-cp-1"]["ansible_host"] == "10.77.0.11"
    assert hosts["lab-worker-1"]["ansible_host"] == "10.77.0.99", "from where it reported last"
    assert "ansible_host" not in hosts["lab-compute-1"], (
        "a machine that says it were this computer is not believed"
    )
    assert f"{api}: {files.registry}: 52:54:00:77:00:11: the key rack is not known" in warned
    site.options(source="api")
    by_environment = {"KUBESTEAD_API_URL": api, "KUBESTEAD_API_TOKEN_FILE": str(files.token)}
    assert site.hosts(**by_environment) == hosts


def test_a_file_with_addresses_from_the_api(site: Site, files: Files, api: str) -> None:
    settings = {"KUBESTEAD_API_URL": api, "KUBESTEAD_API_TOKEN_FILE": str(files.token)}
    found, warned = site.listed(**settings)
    assert found["_meta"]["hostvars"]["lab-worker-1"]["ansible_host"] == "10.77.0.99"
    assert "State API" not in warned
    found, warned = site.listed(
        KUBESTEAD_API_URL="http://127.0.0.1:9", KUBESTEAD_API_TOKEN_FILE=str(files.token)
    )
    assert "ansible_host" not in found["_meta"]["hostvars"]["lab-worker-1"]
    assert (
        "The registry has no ip for lab-worker-1, lab-compute-1, and the State API cannot say where they are:"
        " http://127.0.0.1:9: connection refused. Their host names are used."
    ) in warned


def test_no_inventory_without_an_answer(site: Site, files: Files, api: str) -> None:
    site.options(source="api", api_url="http://127.0.0.1:9", api_token_file=str(files.token))
    assert (
        "The State API cannot give the inventory: http://127.0.0.1:9: connection refused." in site.refused()
    )
    site.options(source="api", api_url=api)
    assert "api_token_file is not set, neither in the inventory's file nor by KUBESTEAD_API_TOKEN_FILE." in (
        site.refused()
    )
    site.options(source="api")
    assert "api_url is not set" in site.refused()
    site.options(source="api", api_url=api, api_token_file=str(Path("no-such-file")))
    assert f"{site.folder}/no-such-file: the State API's token cannot be read" in site.refused()
    wrong = site.folder.parent / "wrong"
    wrong.write_text("a-token-that-is-not-the-one", encoding="utf-8")
    site.options(source="api", api_url=api, api_token_file=str(wrong))
    assert "401" in site.refused()
    client = StateApiClient(api, BEARER)
    wrong.write_text(client.create_token("look", "read")["token"], encoding="utf-8")
    client.close()
    assert "shows the registry's text to operators only" in site.refused()


def test_a_live_registry_that_is_wrong_or_missing(site: Site, files: Files, api: str) -> None:
    site.options(source="api", api_url=api, api_token_file=str(files.token))
    files.registry.write_text('{"52:54:00:77:00:11": {"hostname": "a"}}', encoding="utf-8")
    said = site.refused()
    assert "The machine registry has 2 problems" in said
    assert f"{api}: {files.registry}: 52:54:00:77:00:11: role is missing" in said
    files.registry.unlink()
    assert f"there is no registry at {files.registry}. Push one" in site.refused()


def test_the_cache_carries_over_while_the_api_is_away(site: Site, files: Files) -> None:
    with running(files) as program:
        options = {"source": "api", "api_url": program.url, "api_token_file": str(files.token)}
        folder = kept(site, **options, cache_timeout=3600)
        first, _ = site.listed()
        held = {file.name: file.read_bytes() for file in folder.iterdir()}
        assert len(held) == 2, "the registry, and the addresses"
        files.registry.write_text(
            json.dumps(REGISTRY).replace("lab-worker-1", "lab-worker-9"), encoding="utf-8"
        )
        assert site.listed()[0] == first, "as long as it is fresh, nobody asks"
        play = site.folder.parent / "play.yml"
        play.write_text("- hosts: all\n", encoding="utf-8")
        assert "lab-worker-9" in site.run("ansible-playbook", play, "--list-hosts", "--flush-cache").stdout
        kept(site, **options, cache_timeout=3600, compose={"machine_features": "[]", "ansible_host": "'x'"})
        before = {file.name: file.read_bytes() for file in folder.iterdir()}
        assert site.hosts()["lab-worker-9"]["ansible_host"] == "x"
        assert {file.name: file.read_bytes() for file in folder.iterdir()} == before, (
            "compose leaves it alone"
        )
    kept(site, **options, cache_timeout=1)
    found, warned = site.listed()
    assert found["_meta"]["hostvars"]["lab-worker-9"]["ansible_host"] == "10.77.0.99"
    assert f"{program.url}: connection refused. What the State API said" in warned
    assert "ago is used, from the cache." in warned
    site.options(**options)
    assert "connection refused" in site.refused(), "only where the cache is on"


def test_ten_thousand_hosts(site: Site) -> None:
    site.write(
        {
            f"52:54:00:00:{i >> 8:02x}:{i & 255:02x}": {
                "hostname": f"node-{i}",
                "role": "worker",
                "architecture": "amd64",
                "features": ["kubernetes", "nfs"],
                "ip": f"10.0.{i >> 8}.{i & 255}",
            }
            for i in range(10_000)
        }
    )
    before = os.times().children_user
    done = site.run("ansible", "node-1", "--list-hosts")
    spent = os.times().children_user - before
    assert "node-1" in done.stdout
    assert spent < 6, "three times what it takes on an idle computer of 2026"
