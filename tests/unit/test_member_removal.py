# SPDX-License-Identifier: GPL-3.0-or-later
"""A node leaves its cluster, dead or alive, and etcd keeps its majority."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kubestead.model.etcd import Etcd, EtcdError, EtcdMember
from kubestead.model.kubeconfig import Answer, Client
from kubestead.model.leftovers import Host
from kubestead.model.member_removal import Leaving, MemberRemoval, RemovalError
from tests.unit.kubeadm_sample import Programs, put, sample_host


class SampleApi(Client):
    """The API of a cluster that has these nodes, ready or not."""

    def __init__(self, nodes: dict[str, bool], down: bool = False) -> None:
        self.nodes, self.down, self.asked = nodes, down, list[str]()

    def request(
        self, path: str, method: str = "GET", body: Any = None, content_type: str = "application/json"
    ) -> Answer:
        name = path.rpartition("/")[2]
        self.asked.append(f"{method} {name}")
        if self.down:
            return Answer(0, "connection refused")
        if name not in self.nodes:
            return Answer(404, "not found")
        if method == "DELETE":
            del self.nodes[name]
            return Answer(200, "{}")
        status = "True" if self.nodes[name] else "Unknown"
        node = {"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": status}]}}
        return Answer(200, json.dumps(node))


class SampleEtcd(Etcd):
    """An etcd with members, of which some do not answer."""

    def __init__(self, names: Sequence[str], dead: Sequence[str] = (), stubborn: int = 0) -> None:
        self.all = [
            EtcdMember(
                f"{number:x}", name, [f"https://10.0.0.{number}:2380"], [f"https://10.0.0.{number}:2379"]
            )
            for number, name in enumerate(names, 11)
        ]
        self.dead, self.stubborn = set(dead), stubborn
        self.servers = []

    def at(self, servers: Sequence[str] | None) -> SampleEtcd:
        """The same, asked elsewhere."""
        self.servers = list(servers or [])
        return self

    def members(self) -> list[EtcdMember]:
        if self.servers and any(one.name in self.dead and one.clients == self.servers for one in self.all):
            raise EtcdError("no answer")
        if len(self.dead & {one.name for one in self.all}) * 2 >= len(self.all):
            raise EtcdError("no leader")
        return list(self.all)

    def remove(self, member: EtcdMember) -> None:
        if self.stubborn:
            self.stubborn -= 1
            raise EtcdError("unhealthy cluster")
        self.all.remove(member)


def removal(
    tmp_path: Path,
    name: str,
    api: SampleApi,
    etcd: SampleEtcd,
    *,
    drain: bool = True,
    drained: int = 0,
    patience: int = 0,
) -> tuple[MemberRemoval, Programs]:
    """The removal of `name`, on a control plane with an etcd of its own."""
    put(tmp_path, "etc/kubernetes/manifests/etcd.yaml")
    programs = Programs({"kubectl": (drained, "", "Cannot evict pod: disruption budget" if drained else "")})
    host: Host = sample_host(tmp_path, programs)
    leaving = Leaving(name, ["10.0.0.13"], drain, drain_timeout=patience)
    return MemberRemoval(leaving, host, api, etcd.at, lambda _seconds: None), programs


def test_a_worker_that_lives_is_drained_and_deleted(tmp_path: Path) -> None:
    api, etcd = SampleApi({"cp-1": True, "w-1": True}), SampleEtcd(["cp-1"])
    one, programs = removal(tmp_path, "w-1", api, etcd)
    assert one.run().done == ["pods of w-1 moved", "node w-1 deleted"]
    assert api.nodes == {"cp-1": True}
    assert len(etcd.all) == 1
    assert [call for call in programs.calls if call.startswith("kubectl") and "drain w-1" in call]
    assert not one.run().needed


def test_a_dead_control_plane_goes_with_its_etcd_member(tmp_path: Path) -> None:
    api = SampleApi({"cp-1": True, "cp-2": True, "cp-3": False})
    etcd = SampleEtcd(["cp-1", "cp-2", "cp-3"], dead=["cp-3"], stubborn=2)
    one, programs = removal(tmp_path, "cp-3", api, etcd)
    assert one.run().done == ["etcd member cp-3 (d) removed", "node cp-3 deleted"]
    assert [member.name for member in etcd.all] == ["cp-1", "cp-2"]
    assert programs.calls == []  # nobody is there to end its pods


def test_a_member_that_never_started_is_known_by_its_address(tmp_path: Path) -> None:
    etcd = SampleEtcd(["cp-1", "cp-2", ""])
    one, _programs = removal(tmp_path, "cp-3", SampleApi({"cp-1": True, "cp-2": True}), etcd)
    assert one.run().needed
    assert [member.name for member in etcd.all] == ["cp-1", "cp-2"]


def test_check_mode_only_says_what_it_would_do(tmp_path: Path) -> None:
    api, etcd = SampleApi({"cp-1": True, "cp-2": True, "cp-3": True}), SampleEtcd(["cp-1", "cp-2", "cp-3"])
    one, programs = removal(tmp_path, "cp-3", api, etcd)
    assert len(one.run(check=True).done) == 3
    assert len(etcd.all) == len(api.nodes) == 3
    assert programs.calls == []
    assert {asked.split()[0] for asked in api.asked} == {"GET"}


@pytest.mark.parametrize(
    ("name", "names", "dead", "words"),
    [
        ("cp-1", ["cp-1"], [], "cp-1 is the last control plane"),
        ("cp-3", ["cp-1", "cp-2", "cp-3"], ["cp-2"], "1 of 2 members and no majority: cp-2"),
        ("cp-3", ["cp-1", "cp-2", "cp-3"], ["cp-2", "cp-3"], "etcd does not answer"),
    ],
)
def test_etcd_keeps_its_majority(
    tmp_path: Path, name: str, names: list[str], dead: list[str], words: str
) -> None:
    api, etcd = SampleApi(dict.fromkeys(names, True)), SampleEtcd(names, dead)
    one, _programs = removal(tmp_path, name, api, etcd)
    with pytest.raises(RemovalError, match=words):
        one.run()
    assert len(etcd.all) == len(api.nodes) == len(names)
    assert {asked.split()[0] for asked in api.asked} == {"GET"}


def test_pods_that_cannot_be_moved_stop_it(tmp_path: Path) -> None:
    api = SampleApi({"cp-1": True, "w-1": True})
    one, _programs = removal(tmp_path, "w-1", api, SampleEtcd(["cp-1"]), drained=1)
    with pytest.raises(
        RemovalError, match=r"disruption budget.*remove_node_drain=false.*kubectl uncordon w-1"
    ):
        one.run()
    assert "w-1" in api.nodes
    one, programs = removal(tmp_path, "w-1", api, SampleEtcd(["cp-1"]), drain=False)
    one.run()
    assert "w-1" not in api.nodes
    assert programs.calls == []


def test_pods_of_a_node_that_is_found_to_be_down_are_not_waited_for(
    tmp_path: Path,
) -> None:
    class Late(SampleApi):
        """Hears of a node's end only after a while."""

        def request(self, path: str, *rest: Any, **more: Any) -> Answer:
            if "w-1" in self.nodes:
                self.nodes["w-1"] = len(self.asked) < 5
            return super().request(path, *rest, **more)

    api = Late({"cp-1": True, "w-1": True})
    one, programs = removal(tmp_path, "w-1", api, SampleEtcd(["cp-1"]), drained=1, patience=60)
    assert one.run().done == ["node w-1 deleted"], "its pods were not moved"
    assert len(programs.calls) > 1


def test_an_api_that_does_not_answer_changes_nothing(tmp_path: Path) -> None:
    one, _programs = removal(tmp_path, "w-1", SampleApi({"w-1": True}, down=True), SampleEtcd(["cp-1"]))
    with pytest.raises(RemovalError, match=r"no answer connection refused. Nothing was changed"):
        one.run()
