# SPDX-License-Identifier: GPL-3.0-or-later
"""Loading, checking and saving the whole registry; single keys are tested in test_registry_schema.py."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kubestead.model.registry import Machine, Registry, RegistryError

CP = "52:54:00:77:00:11"
WORKER = "52:54:00:77:00:21"
SIX_KEYS = """\
{
  "00:11:22:33:44:55": {
    "hostname": "k8s-cp-1", "role": "control-plane", "architecture": "amd64",
    "features": ["kubernetes", "nfs", "storage"], "ip": "10.0.0.11",
    "specs": {"cpu": "4c/4t", "memory": "16GB", "storage": "20TB RAID"}
  },
  "00:11:22:33:44:56": {"hostname": "k8s-w-1", "role": "worker", "architecture": "arm64", "features": ["gpu"]}
}
"""


def machine(hostname: str, role: str = "worker", **more: Any) -> dict[str, Any]:
    """A machine's entry."""
    return {"hostname": hostname, "role": role, "architecture": "amd64", **more}


def problems(text: str, source: str = "registry.json") -> list[str]:
    """The problems of a registry, as sentences."""
    with pytest.raises(RegistryError) as caught:
        Registry.parse(text, source)
    return [str(problem) for problem in caught.value.problems]


def test_the_format_of_existing_users() -> None:
    registry = Registry.parse(SIX_KEYS)
    assert not registry.warnings
    assert list(registry.machines) == ["00:11:22:33:44:55", "00:11:22:33:44:56"]
    first = registry.machines["00:11:22:33:44:55"]
    assert first == Machine(
        mac="00:11:22:33:44:55",
        hostname="k8s-cp-1",
        role="control-plane",
        architecture="amd64",
        features=("kubernetes", "nfs", "storage"),
        ip="10.0.0.11",
        specs={"cpu": "4c/4t", "memory": "16GB", "storage": "20TB RAID"},
    )
    assert (first.cluster, first.distribution, first.os, first.locked) == ("homelab", "kubeadm", None, False)
    assert registry.machines["00:11:22:33:44:56"].ip is None


def test_all_problems_at_once() -> None:
    text = """{
      "52:54:00:77:00:11": {"hostname": "lab-1", "role": "control_plane", "architecture": "amd64",
                            "ip": "10.0.0.1"},
      "52-54-00-77-00-11": {"hostname": "lab-2", "role": "worker", "architecture": "amd64",
                            "ip": "10.0.0.300"},
      "52:54:00:77:00": {"hostname": "lab_3", "role": "worker", "architecture": "amd64"},
      "52:54:00:77:00:21": {"hostname": "lab-1", "role": "worker", "architecture": "amd64", "ip": "10.0.0.1",
                            "role": "worker", "specs": {"a": 1, "a": 2}},
      "52:54:00:77:00:21": {"hostname": "lab-4", "role": "worker", "features": ["gpus"]}
    }"""
    assert problems(text) == [
        f"registry.json: {sentence}"
        for sentence in (
            '52:54:00:77:00:11: role is "control_plane", expected control-plane, worker or compute'
            " (did you mean control-plane?)",
            "52-54-00-77-00-11: is there twice, and as 52:54:00:77:00:11, expected each machine once",
            '52-54-00-77-00-11: ip is "10.0.0.300", expected an IPv4 or IPv6 address',
            "52:54:00:77:00: is no MAC address, expected six pairs of hexadecimal digits"
            " such as 52:54:00:77:00:11",
            '52:54:00:77:00: hostname is "lab_3", expected a host name (letters, digits and -, dots'
            " between labels of at most 63), not a number or an address",
            "52:54:00:77:00:21: is there twice, expected each machine once",
            '52:54:00:77:00:21: features has "gpus", expected kubernetes, gpu, nfs, storage, compute,'
            " inference or monitoring (did you mean gpu?)",
            "52:54:00:77:00:21: architecture is missing, expected amd64 or arm64",
            "52:54:00:77:00:21: role is there twice, expected each key once",
            "52:54:00:77:00:21: specs.a is there twice, expected each key once",
            '52:54:00:77:00:21: hostname is "lab-1", expected one of its own: 52:54:00:77:00:11 has the same',
            '52:54:00:77:00:21: ip is "10.0.0.1", expected one of its own: 52:54:00:77:00:11 has the same',
        )
    ]


def test_an_error_reads_as_a_list() -> None:
    with pytest.raises(RegistryError) as caught:
        Registry({CP: {"hostname": "a", "role": "x"}})
    assert str(caught.value).startswith("2 problems:\n  - registry.json: 52:54:00:77:00:11: role is")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[]", "registry.json: is [], expected an object of machines by MAC"),
        ('{"a": 1,}', "registry.json: is no JSON at line 1, column"),
        ("", "registry.json: is no JSON at line 1, column 1"),
        ('{"a": NaN}', "registry.json: is no JSON: NaN is no JSON value"),
        ("[" * 100_000, "registry.json: is no JSON"),
    ],
)
def test_what_is_no_registry(text: str, sentence: str) -> None:
    (problem,) = problems(text)
    assert problem.startswith(sentence)


@pytest.mark.parametrize(
    ("mac", "expected"),
    [("00:00:00:00:00:00", "the MAC of a network card"), ("FF:FF:FF:FF:FF:FF", "the MAC of a network card")],
)
def test_macs_of_no_machine(mac: str, expected: str) -> None:
    (problem,) = problems(json.dumps({mac: machine("a")}))
    assert expected in problem


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="is not there, expected a machine registry"):
        Registry.load(tmp_path / "registry.json")
    with pytest.raises(RegistryError, match=r"cannot be read \(Is a directory\)"):
        Registry.load(tmp_path)
    (tmp_path / "latin.json").write_bytes(b'{"\xe4": 1}')
    with pytest.raises(RegistryError, match="is not UTF-8 at byte 2"):
        Registry.load(tmp_path / "latin.json")


def test_hosts_and_addresses_are_compared_in_normal_form() -> None:
    content = {CP: machine("Node-1", ip="fd77::1"), WORKER: machine("node-1", ip="fd77:0:0::1")}
    with pytest.raises(RegistryError) as caught:
        Registry(content)
    assert [problem.key for problem in caught.value.problems] == ["hostname", "ip"]


def test_remarks() -> None:
    registry = Registry(
        {
            CP: machine("Lab-1", os="ubuntu-20.04", feature=["gpu"]),
            "01:00:5e:00:00:01": machine("lab-2", rack="a"),
            WORKER: machine("lab-3", rack="b", **{"bmc-token": "x"}),
        },
        "m.json",
    )
    assert registry.warnings == (
        f'm.json: {CP}: hostname is "Lab-1"; read as lab-1, as Kubernetes names its nodes',
        f"m.json: {CP}: os is ubuntu-20.04, which is out of support; read as ubuntu-24.04",
        "m.json: 01:00:5e:00:00:01: is a multicast address, which no network card has",
        f"m.json: {CP}: the key feature is not known (did you mean features?); it is kept.",
        "m.json: 01:00:5e:00:00:01 and 1 more: the key rack is not known; it is kept.",
        f"m.json: {WORKER}: the key bmc-token is not known; it is kept. A registry is no place for secrets.",
    )
    assert registry.machines[CP].os == "ubuntu-24.04"
    assert registry.machines[WORKER].extra["rack"] == "b"


@pytest.mark.parametrize(
    ("control_plane", "worker", "expected"),
    [
        ({}, {}, "kubeadm"),
        ({"distribution": "k3s"}, {}, "k3s"),
        ({}, {"distribution": "rke2"}, "rke2"),
        ({"os": "rhel-10"}, {"os": "debian-12"}, "rke2"),
        ({"os": "rhel-10", "distribution": "kubeadm"}, {}, "kubeadm"),
        ({"os": "debian-12"}, {"os": "rhel-10"}, "kubeadm"),
    ],
)
def test_a_cluster_has_one_distribution(
    control_plane: dict[str, str], worker: dict[str, str], expected: str
) -> None:
    registry = Registry({CP: machine("a", "control-plane", **control_plane), WORKER: machine("b", **worker)})
    assert {one.distribution for one in registry} == {expected}


def test_two_distributions_need_two_clusters() -> None:
    content = {CP: machine("a", distribution="k3s"), WORKER: machine("b", distribution="rke2")}
    with pytest.raises(RegistryError, match=f"one distribution in the cluster homelab: {CP} has k3s"):
        Registry(content)
    content[WORKER]["cluster"] = "other"
    assert [one.distribution for one in Registry(content)] == ["k3s", "rke2"]


def test_a_machine_is_plain_data_of_its_own() -> None:
    registry = Registry({CP: machine("a", specs={"disks": ["x"]}, taints=["gpu:NoExecute"], rack="r")})
    data = registry.machines[CP].as_dict()
    assert data["taints"] == [{"key": "gpu", "value": "", "effect": "NoExecute"}]
    assert data["rack"] == "r"
    assert "ip" not in data
    data["specs"]["disks"].append("y")
    assert registry.machines[CP].specs == {"disks": ["x"]}
    assert json.loads(json.dumps(data)) == data


def test_a_registry_does_not_change_with_what_it_was_made_of() -> None:
    content = {CP: machine("a", specs={"cpu": "1"})}
    registry = Registry(content)
    content[CP]["specs"]["cpu"] = "2"
    registry.content()[CP]["specs"]["cpu"] = "3"
    assert registry.content()[CP]["specs"]["cpu"] == "1"
    assert registry.machines[CP].specs["cpu"] == "1"
    assert len({registry.machines[CP]}) == 1


def test_find_by_name_or_address() -> None:
    registry = Registry.parse(SIX_KEYS)
    assert (
        registry.find("K8S-CP-1") is registry.find("0011.2233.4455") is registry.machines["00:11:22:33:44:55"]
    )
    assert registry.find("nobody") is None
    assert len(registry) == 2


def test_adding_replacing_removing() -> None:
    registry = Registry({"52-54-00-77-00-11": machine("a", note="x"), WORKER: machine("b")})
    added = registry.with_machine("525400770031", machine("c"))
    assert [one.hostname for one in added] == ["a", "b", "c"]
    replaced = added.with_machine(CP, machine("z"))
    assert list(replaced.content()) == ["52-54-00-77-00-11", WORKER, "525400770031"]
    assert [one.hostname for one in replaced] == ["z", "b", "c"]
    assert [one.hostname for one in replaced.without_machine("5254.0077.0021")] == ["z", "c"]
    assert [one.hostname for one in registry] == ["a", "b"]
    with pytest.raises(RegistryError, match="expected one of its own"):
        registry.with_machine("525400770031", machine("a"))
    with pytest.raises(KeyError):
        registry.without_machine("525400770099")


@pytest.mark.parametrize("name", ["registry.json", "registry.yml"])
def test_saving_keeps_order_unknown_keys_and_mode(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    content = {
        "$schema": "../../registry.schema.json",
        "52-54-00-12-34-56": {"rack": "ä", **machine("b", features=["nfs", "gpu"], locked=True)},
        "52:54:00:12:34:57": machine("a", specs={"z": 1, "a": [{"x": None}]}),
    }
    Registry(content).save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    path.chmod(0o640)
    link = tmp_path / f"link-{name}"
    link.symlink_to(path)
    before = path.stat().st_ino
    loaded = Registry.load(link)
    assert loaded.content() == content
    assert json.dumps(loaded.content()) == json.dumps(content)
    loaded.save(link)
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.stat().st_ino != before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([name, link.name])


def test_a_saved_file_is_easy_to_read(tmp_path: Path) -> None:
    path = tmp_path / "registry.json"
    Registry({CP: machine("a", features=["kubernetes", "nfs"], specs={"cpu": "4c/4t"})}).save(path)
    assert path.read_text(encoding="utf-8") == (
        '{\n  "52:54:00:77:00:11": {\n    "hostname": "a",\n    "role": "worker",\n'
        '    "architecture": "amd64",\n'
        '    "features": ["kubernetes", "nfs"],\n    "specs": {"cpu": "4c/4t"}\n  }\n}\n'
    )
    Registry({}).save(path)
    assert path.read_text(encoding="utf-8") == "{}\n"


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "registry.json"
    path.write_text(SIX_KEYS, encoding="utf-8")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        Registry({CP: machine("a")}).save(path)
    assert path.read_text(encoding="utf-8") == SIX_KEYS
    assert [entry.name for entry in tmp_path.iterdir()] == ["registry.json"]


def test_yaml() -> None:
    registry = Registry.parse(
        """\
# keys that YAML 1.1 would take for numbers in base 60, and words for booleans
52:54:00:12:34:56: &first
  hostname: on
  role: worker
  architecture: amd64
  os: debian-12
  locked: false
  proxmox: {vmid: 101, cores: 010}
  specs: {since: 2024-01-01, ratio: 0.5, none: ~, power: yes}
52:54:00:12:34:57:
  <<: *first
  hostname: two
  proxmox: {vmid: 102}
""",
        "registry.yaml",
    )
    one, two = registry
    assert (one.hostname, one.locked, one.proxmox) == ("on", False, {"vmid": 101, "cores": 10})
    assert one.specs == {"since": "2024-01-01", "ratio": 0.5, "none": None, "power": "yes"}
    assert (two.hostname, two.os, two.proxmox) == ("two", "debian-12", {"vmid": 102})


def test_yaml_problems() -> None:
    assert problems("a: [", "r.yml")[0].startswith("r.yml: is no YAML at line 2, column 1")
    assert problems("? [a]\n: b\n", "r.yml")[0].startswith("r.yml: is no YAML at line 1, column 3")
    text = f"{CP}: {{hostname: a, hostname: b, role: worker, architecture: amd64}}\n{CP}: {{}}\n"
    assert f"r.yml: {CP}: hostname is there twice, expected each key once" in problems(text, "r.yml")
    assert f"r.yml: {CP}: is there twice, expected each machine once" in problems(text, "r.yml")
    assert problems("- a\n", "r.yml")[0].startswith('r.yml: is ["a"], expected an object of machines by MAC')
    assert problems("!!python/object/apply:os.system [id]\n", "r.yml")[0].startswith("r.yml: is no YAML")


def test_json_needs_nothing_but_the_standard_library_and_yaml_says_what_it_needs() -> None:
    program = (
        "import sys; sys.modules['yaml'] = None\n"
        "from kubestead.model.registry import Registry, RegistryError\n"
        "Registry.parse('{}')\n"
        "try:\n    Registry.parse('{}', 'r.yml')\n"
        "except RegistryError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == (
        "r.yml: is YAML, and this Python has no PyYAML, expected PyYAML (Debian: python3-yaml),"
        " or the registry as JSON\n"
    )


def cpu_seconds(work: Callable[[], object]) -> float:
    """The least that one of some calls takes of a processor."""
    best = 9.9
    for _ in range(3):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return best


def test_reading_ten_thousand_machines_costs_little_more_than_their_json() -> None:
    """Half a second on a usual computer. A busy one is slower, at both."""
    text = json.dumps(
        {
            f"52:54:00:{i >> 16 & 255:02x}:{i >> 8 & 255:02x}:{i & 255:02x}": machine(
                f"node-{i}",
                features=["kubernetes", "nfs"],
                ip=f"10.0.{i >> 8}.{i & 255}",
                specs={"cpu": "4c/4t"},
            )
            for i in range(10_000)
        }
    )
    assert len(Registry.parse(text)) == 10_000
    assert cpu_seconds(lambda: Registry.parse(text)) < 40 * cpu_seconds(lambda: json.loads(text))


def test_a_machine_written_twice_is_compared_with_the_others_too() -> None:
    text = json.dumps({CP: machine("a"), CP.replace(":", "-"): machine("b"), WORKER: machine("b")})
    assert problems(text) == [
        f"registry.json: 52-54-00-77-00-11: is there twice, and as {CP}, expected each machine once",
        f'registry.json: {WORKER}: hostname is "b", expected one of its own: 52-54-00-77-00-11 has the same',
    ]
