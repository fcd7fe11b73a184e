# SPDX-License-Identifier: GPL-3.0-or-later
"""The likely cause is named: from what programs really said (folder troubles), and from what is true now."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from kubestead.model import collecting
from kubestead.model.diagnosis import Disk, Facts, Lifetime, Process, Runtime, lines, sentence
from kubestead.model.known_troubles import likely_causes
from kubestead.model.redacting import redact
from tests.unit.kubeadm_sample import Programs, make_certificate, put, put_control_plane, sample_host

TROUBLES = Path(__file__).parent / "troubles"
WELL = {"installed": True, "active": "active", "healthy": True}


def said(name: str) -> str:
    """What a program said, as it was taken from a machine."""
    return (TROUBLES / name).read_text(encoding="utf-8")


def worker(**changes: object) -> Facts:
    """A worker that is well, but for `changes`."""
    node = {
        "state": "worker",
        "name": "w-1",
        "kubelet": dict(WELL),
        "member": True,
        "files": ["kubelet.conf"],
    }
    facts = Facts("w-1", node=node, kubelet_cgroup_driver="systemd")
    for name, value in changes.items():
        if name in ("kubelet", "member", "files", "state", "manifests", "endpoint", "kubelet_config"):
            facts.node[name] = value
        else:
            setattr(facts, name, value)
    return facts


def sick(active: str = "activating") -> Facts:
    """A worker whose kubelet does not run."""
    return worker(kubelet={"installed": True, "active": active, "healthy": False}, kubelet_config=True)


@pytest.mark.parametrize(
    ("file", "name", "words"),
    [
        ("join-wrongtoken.txt", "token", "unknown to the cluster"),
        ("join-wrongpin.txt", "authority-differs", "sha256:e882dafdf7b4"),
        ("join-refused.txt", "endpoint-unreachable", "10.77.0.11:6444: connection refused"),
        ("join-noroute.txt", "endpoint-unreachable", "10.77.0.99:6443: no route to host"),
        ("join-slow.txt", "endpoint-unreachable", "10.77.0.11:6443: context deadline exceeded"),
        ("join-noruntime.txt", "runtime-silent", "/var/run/containerd/containerd.sock is missing"),
        ("join-port.txt", "port-taken", "Port 10250 of w-1 is taken"),
        ("join-leftovers.txt", "leftovers", "/etc/kubernetes/kubelet.conf"),
    ],
)
def test_a_join_that_failed_says_why(file: str, name: str, words: str) -> None:
    facts = Facts("w-1", runtime=Runtime(installed=False))
    findings = likely_causes(facts, {"failure": said(file)})
    assert findings[0].name == name
    assert words in findings[0].cause
    assert findings[0].remedy
    assert "{" not in findings[0].cause + findings[0].remedy
    # In kubeadm's log, without the message of a task, it is believed where something is wrong.
    partial = Facts("w-1", node={"state": "partial"}, runtime=Runtime(answers=False))
    assert name in {found.name for found in likely_causes(partial, {"kubeadm-join": said(file)})}


@pytest.mark.parametrize(
    ("section", "file", "name", "words"),
    [
        ("journal-kubelet", "kubelet-cgroupv1.txt", "cgroup-v1", "cgroup v1"),
        ("journal-kubelet", "kubelet-noconfig.txt", "kubelet-configuration", "config.yaml: no such file"),
        ("journal-kubelet", "kubelet-cgroupdriver.txt", "cgroup-driver", "in different ways"),
        ("journal-containerd", "containerd-cgroupdriver.txt", "cgroup-driver", "in different ways"),
    ],
)
def test_the_journal_says_why_a_kubelet_fails(section: str, file: str, name: str, words: str) -> None:
    findings = likely_causes(sick(), {section: said(file)})
    assert findings[0].name == name
    assert words in findings[0].cause
    assert findings[0].section == section
    assert len(findings[0].evidence) < 320
    assert findings[0].evidence.strip("…") in said(file)


def test_a_journal_of_a_machine_that_is_well_is_history() -> None:
    texts = {f"journal-{path.stem}": path.read_text() for path in TROUBLES.glob("*.txt")}
    texts["journal-kubelet"] = "\n".join(texts.values())
    texts["kubeadm-join"] = "\n".join(path.read_text() for path in TROUBLES.glob("join-*.txt"))
    assert likely_causes(worker(dns_problem="", endpoint_problem=""), texts) == []


def test_a_runtime_that_answers_again_is_not_blamed_for_what_it_did() -> None:
    names = [one.name for one in likely_causes(sick(), {"journal-kubelet": said("kubelet-socket.txt")})]
    assert "runtime-silent" not in names
    facts = sick("active")
    facts.runtime = Runtime(active="inactive", answers=False, problem="Connection refused")
    findings = likely_causes(facts, {"journal-kubelet": said("kubelet-socket.txt")})
    assert findings[0].name == "runtime-silent"
    assert "containerd.service is inactive" in findings[0].cause
    assert "systemctl restart containerd" in findings[0].remedy


def test_what_a_node_says_of_its_disk() -> None:
    facts = worker(conditions=collecting.bad_conditions(json.loads(said("node-disk.json"))))
    assert facts.conditions == {"DiskPressure": "kubelet has disk pressure"}
    findings = likely_causes(facts, {"journal-kubelet": said("kubelet-disk.txt")})
    assert [one.name for one in findings] == ["disk-pressure"]
    assert "crictl rmi --prune" in findings[0].remedy


@pytest.mark.parametrize(
    ("facts", "name", "words"),
    [
        (worker(disks=[Disk("/", 40), Disk("/var", 99.2, 12)]), "disk-full", "/var on w-1 is full: 99 %"),
        (worker(disks=[Disk("/", 40, 100)]), "disk-full", "100 % of its files"),
        (worker(ahead_of_api=-412.0), "clock-skew", "412 seconds behind that of the API server"),
        (worker(ahead_of_controller=-9.5), "clock-skew", "behind that of the controller"),
        (worker(certificates=[Lifetime("/x.crt", -400, -3)]), "certificate-over", "/x.crt has ended"),
        (worker(certificates=[Lifetime("/x.crt", 2, 300)]), "certificate-over", "is not valid yet"),
        (
            worker(admin_allowed=False, admin_organisations=["people"]),
            "admin-rbac",
            "its certificate is of people",
        ),
        (
            Facts("w-1", kubeadm=[Process(7, 400, "kubeadm join --config /proc/self/fd/3")]),
            "join-hangs",
            "process 7) has been running on w-1 for 400 seconds",
        ),
        (
            worker(endpoint="https://10.0.0.9:6443", endpoint_problem="Connection refused"),
            "endpoint-unreachable",
            "https://10.0.0.9:6443: Connection refused",
        ),
        (sick(), "kubelet-crash-loop", "ends as soon as it is started"),
        (sick("failed"), "kubelet-stopped", "its kubelet is failed"),
        (worker(runtime=Runtime(systemd_cgroup=False)), "cgroup-driver", "containerd by cgroupfs"),
        (Facts("w-1", node={"state": "partial", "files": ["kubelet.conf"]}), "partial", "interrupted"),
        (worker(files=["kubelet.conf", "bootstrap-kubelet.conf"]), "partial-join", "not come to its end"),
        (worker(member=False), "not-a-member", "does not know a node w-1"),
        (worker(mtus={"eth0": 1420, "flannel.1": 1450}, uplink="eth0"), "mtu", "(flannel.1: 1450 bytes)"),
        (worker(listeners={22: "sshd", 10250: "python3"}), "port-taken", "Port 10250"),
        (worker(dns_problem="timed out"), "dns", "timed out"),
        (worker(dead_containers=["kube-flannel"]), "container-ends", "kube-flannel on w-1 ends"),
    ],
)
def test_what_is_true_now_names_the_cause(facts: Facts, name: str, words: str) -> None:
    findings = likely_causes(facts, {})
    assert [one.name for one in findings] == [name]
    assert words in findings[0].cause
    told = lines("w-1", findings, facts)
    assert told[0].startswith("✘ w-1: ")
    assert told[1].startswith("  → ")
    assert sentence(findings[0].as_dict()).startswith(f"Likely cause: {findings[0].cause} What to do: ")


def test_a_node_that_is_well_is_told_so() -> None:
    facts = worker(
        mtus={"eth0": 1500, "flannel.1": 1450},
        uplink="eth0",
        disks=[Disk("/", 89, 10)],
        ahead_of_api=1.0,
        ahead_of_controller=-0.4,
        certificates=[Lifetime("/x.crt", -1, 300)],
        listeners={10250: "kubelet", 6443: "haproxy"},
        swap=["/dev/zram0"],
        kubeadm=[Process(7, 20, "kubeadm join")],
        admin_allowed=True,
        runtime=Runtime(systemd_cgroup=True),
    )
    assert likely_causes(facts, {}) == []
    assert lines("w-1", [], facts) == ["✔ w-1 (worker): nothing is wrong as far as this machine can tell"]
    facts.node["member"] = None
    facts.dead_containers = ["x"]
    assert lines("w-1", [], facts)[0].startswith("! w-1 (worker)")


def test_the_root_comes_before_what_follows_from_it() -> None:
    facts = sick()
    facts.disks = [Disk("/var", 100)]
    facts.runtime = Runtime(active="failed", answers=False)
    facts.dns_problem = "timed out"
    names = [one.name for one in likely_causes(facts, {"failure": said("join-noruntime.txt")})]
    assert names[0] == "disk-full"
    assert names[1] == "runtime-silent"
    assert names.index("kubelet-crash-loop") < names.index("dns")


KEY = "4f2a" * 16


@pytest.mark.parametrize(
    ("text", "secret", "stays"),
    [
        ("kubeadm join --token abcdef.0123456789abcdef x", "0123456789abcdef", "kubeadm join"),
        (f"--certificate-key {KEY} --v=5", KEY, "--v=5"),
        (f"certificateKey: {KEY}", KEY[12:], "certificateKey"),
        (f'containerID="containerd://{KEY}"', KEY[12:], KEY[:12]),
        (f"--discovery-token-ca-cert-hash sha256:{KEY}", "\0", f"sha256:{KEY}"),
        ("Authorization: Bearer eyJhbGciOi.eyJzdWIiOiJ4.c2ln x", "eyJ", "Authorization"),
        ("    client-key-data: LS0tLS1CRUdJTg==\n    server: x", "LS0t", "server: x"),
        ('password = "hunter2"\nuser = "me"', "hunter2", 'user = "me"'),
        ("auth_pass s3cr3t!\nvirtual_router_id 51", "s3cr3t", "virtual_router_id 51"),
        ("https://me:pw9@registry.example/v2", "pw9", "@registry.example/v2"),
        (
            "a\n-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----\nb",
            "MHcCAQEE",
            "\nb",
        ),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIEow", "MIIEow", "RSA PRIVATE KEY hidden"),
        ("aescbc:\n  keys:\n  - name: k\n    secret: c2VjcmV0IGlzIHNlY3VyZQ==", "c2VjcmV0", "name: k"),
        ("REGISTRY_PASSWORD=xyzzy ./run", "xyzzy", "./run"),
    ],
)
def test_secrets_do_not_leave_the_machine(text: str, secret: str, stays: str) -> None:
    assert secret not in redact(text)
    assert stays in redact(text)


@pytest.mark.parametrize("path", sorted(TROUBLES.glob("*.txt")), ids=lambda path: str(path.stem))
def test_redacting_leaves_what_the_table_looks_for(path: Path) -> None:
    facts = Facts("w-1", node={"state": "partial"}, runtime=Runtime(answers=False))
    before = [one.name for one in likely_causes(facts, {"failure": path.read_text()})]
    assert [one.name for one in likely_causes(facts, {"failure": redact(path.read_text())})] == before


def test_a_whole_collection_on_a_machine_made_of_files(tmp_path: Path) -> None:
    put_control_plane(tmp_path, *make_certificate("kubernetes", days=3650))
    put(tmp_path, "var/lib/kubelet/config.yaml", "cgroupDriver: cgroupfs\nclusterDNS:\n- 127.0.0.1\n")
    put(tmp_path, "etc/containerd/config.toml", '  SystemdCgroup = true\npassword = "hunter2"\n')
    put(tmp_path, "var/log/kubeadm-join.log", said("join-wrongtoken.txt"))
    put(tmp_path, "proc/swaps", "Filename Type\n/dev/sda2 partition\n")
    put(tmp_path, "sys/class/net/eth0/mtu", "1500\n")
    container = {
        "id": "ab" * 32,
        "state": "CONTAINER_EXITED",
        "createdAt": "2",
        "metadata": {"name": "kube-apiserver", "attempt": 4},
        "labels": {
            "io.kubernetes.pod.namespace": "kube-system",
            "io.kubernetes.pod.name": "kube-apiserver-a",
        },
    }
    crictl = "crictl --runtime-endpoint unix:///nowhere.sock --timeout 8s "
    programs = Programs(
        {
            "systemctl show kubelet.service --property=NRestarts": (0, "NRestarts=7\n", ""),
            "systemctl show": (0, "LoadState=loaded\nActiveState=activating\n", ""),
            "ps -C kubeadm": (0, "  77  600 kubeadm join --token abcdef.0123456789abcdef\n", ""),
            "ss ": (0, 'tcp  LISTEN 0 5 0.0.0.0:6443 0.0.0.0:* users:(("nginx",pid=4,fd=3))\n', ""),
            crictl + "ps --all --output=json": (0, json.dumps({"containers": [container]}), ""),
            crictl + "logs": (0, "", "Error: unknown flag: --nonsense"),
            "df": (0, "x" * (collecting.TEXT_LIMIT + 9), ""),
        }
    )
    host = sample_host(tmp_path, programs)
    host.cri_socket = "unix:///nowhere.sock"
    collector = collecting.Collector(host, "cp-1")
    collector.collect("boom", controller_time=9e9)
    facts, texts = collector.facts, collector.texts
    assert (facts.kubelet_restarts, facts.swap, facts.mtus) == (7, ["/dev/sda2"], {"eth0": 1500})
    assert facts.listeners == {6443: "nginx"}
    assert facts.dead_containers == ["kube-apiserver"]
    assert facts.ahead_of_controller is not None
    assert facts.ahead_of_controller < -1e9
    assert facts.runtime.systemd_cgroup is True
    assert facts.runtime.answers is False
    assert texts["logs/kube-apiserver-abababababab"].strip() == "Error: unknown flag: --nonsense"
    assert len(texts["disk"]) <= collecting.TEXT_LIMIT + 3
    assert "journal-crio" not in texts  # journalctl is not there: no empty file
    names = {one.name for one in likely_causes(facts, texts)}
    assert {
        "runtime-silent",
        "port-taken",
        "clock-skew",
        "cgroup-driver",
        "join-hangs",
        "api-server-flag",
    } <= names
    everything = "\n".join(texts.values()) + json.dumps([vars(one) for one in facts.kubeadm])
    assert "hunter2" not in everything
    assert "0123456789abcdef" not in everything

    packed = collecting.pack("cp-1", texts)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        assert "cp-1/kubeadm-join.txt" in archive.getnames()
        file = archive.extractfile("cp-1/failure.txt")
        assert file is not None
        assert file.read() == b"boom"


def test_containers_that_came_back_or_have_done_their_work_are_not_dead() -> None:
    def made(
        name: str, created: str, state: str, attempt: int = 0, space: str = "kube-system"
    ) -> dict[str, object]:
        labels = {
            "io.kubernetes.pod.namespace": space,
            "io.kubernetes.pod.name": "q" if name == "etcd" else "p",
        }
        metadata = {"name": name, "attempt": attempt}
        return {"id": name, "createdAt": created, "state": state, "metadata": metadata, "labels": labels}

    youngest_first = [
        made("kube-apiserver", "3", "CONTAINER_RUNNING", 2),
        made("kube-apiserver", "2", "CONTAINER_EXITED", 1),
        made("install-cni", "2", "CONTAINER_EXITED", 1),
        made("mine", "2", "CONTAINER_EXITED", 9, "default"),
        made("etcd", "1", "CONTAINER_EXITED", 1),
    ]
    assert collecting.ended(youngest_first) == ["etcd"]
    # Beside a container that runs, one that has ended after it began.
    aside = made("sidecar", "4", "CONTAINER_EXITED", 1)
    assert collecting.ended([aside, *youngest_first]) == ["etcd", "sidecar"]


def test_a_clock_that_is_ahead_is_not_told_from_a_slow_connection(tmp_path: Path) -> None:
    collector = collecting.Collector(sample_host(tmp_path, Programs()), "w")
    collector.collect(controller_time=0.0)
    assert collector.facts.ahead_of_controller is None
