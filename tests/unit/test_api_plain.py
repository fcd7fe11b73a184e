# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain HTTP on the port that speaks TLS: a sentence for most, two reads for networks that are named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from kubestead.api.app import create_app, create_plain_app
from kubestead.store import Store, StoreUnavailableError
from tests.unit.api_sample import BEARER, CP, WORKER, Files, bearer

LAB = (ip_network("10.0.0.0/24"), ip_network("fd00::/64"))
INSIDE, OUTSIDE = "10.0.0.5", "10.0.1.5"


@contextmanager
def plain(folder: Path, address: str, **settings: Any) -> Iterator[TestClient]:
    """The plain port, asked from an address, with something to see."""
    app = create_app(Files.make(folder).settings(**settings))
    with TestClient(app, headers=bearer(BEARER)) as secure:
        secure.post("/api/state", json={"mac": CP, "state": "provisioning", "progress": 40})
        secure.post("/api/data", json={"mac": CP, "key": "disks", "value": ["sda"]})
        yield TestClient(create_plain_app(app), client=(address, 1), base_url="http://pxe.lan:8080")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with plain(tmp_path_factory.mktemp("stranger"), OUTSIDE, plain_reads=LAB) as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/api/states"),
        ("GET", f"/api/data/{CP}/disks"),
        ("GET", "/api/machines"),
        ("POST", "/api/state"),
        ("PUT", "/api/registry"),
        ("DELETE", "/api/tokens/1"),
    ],
)
def test_most_get_a_sentence(stranger: TestClient, method: str, path: str) -> None:
    answer = stranger.request(method, path, headers=bearer(BEARER))
    assert answer.status_code == 400
    detail = answer.json()["detail"]
    assert detail.startswith("this port speaks TLS: curl --cacert /etc/kubestead/pki/ca.crt ")
    assert f"https://pxe.lan:8080{path}" in detail
    assert BEARER not in answer.text
    assert "cp-1" not in answer.text
    assert answer.headers["Connection"] == "close"
    assert answer.headers["X-Correlation-ID"]


def test_health_is_told(stranger: TestClient) -> None:
    assert stranger.get("/healthz").json()["status"] == "ok"
    assert stranger.post("/healthz").status_code == 400


@pytest.mark.parametrize("host", ["evil/../x", "a b", "", "x" * 300, "<script>"])
def test_nothing_odd_is_repeated(stranger: TestClient, host: str) -> None:
    answer = stranger.get("/a'b%20c;rm", headers={"Host": host})
    assert answer.status_code == 400
    assert f"https://{host}/" not in answer.json()["detail"]
    assert "rm" not in answer.json()["detail"]


@pytest.mark.parametrize("address", [INSIDE, "::ffff:10.0.0.5", "fd00::7"])
def test_named_networks_may_read(tmp_path: Path, address: str) -> None:
    with plain(tmp_path, address, plain_reads=LAB) as api:
        states = api.get("/api/states").json()
        assert (list(states), states[CP]["progress"]) == ([CP, WORKER], 40)
        for mac in (CP, CP.upper().replace(":", "-")):
            assert api.get(f"/api/data/{mac}/disks").json()["value"] == ["sda"]
        assert api.get(f"/api/data/{CP}/nothing").status_code == 404
        for path in (
            "/api/machines",
            f"/api/data/{CP}",
            f"/api/config/{CP}",
            "/api/data/nonsense/k",
            f"/api/data/{CP}/..",
            "/api/registry",
        ):
            assert api.get(path).status_code == 400
        assert api.post("/api/state", json={"mac": CP, "state": "ready"}).status_code == 400
        assert api.get("/api/states").json()[CP]["state"] == "provisioning"


def test_without_networks_nobody_may(tmp_path: Path) -> None:
    with plain(tmp_path, "127.0.0.1") as api:
        answer = api.get("/api/states")
        assert answer.status_code == 400
        assert "state_api_plain_reads" in answer.json()["detail"]


def test_a_store_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_store: Store) -> None:
        raise StoreUnavailableError("the state store did not answer: gone")

    with plain(tmp_path, INSIDE, plain_reads=LAB) as api, monkeypatch.context() as patch:
        patch.setattr(Store, "machines", gone)
        assert api.get("/api/states").status_code == 503


def test_they_are_limited_as_well(tmp_path: Path) -> None:
    with plain(tmp_path, INSIDE, plain_reads=LAB, rate=2) as api:
        answers = [api.get("/api/states", headers=bearer(BEARER)) for _ in range(10)]
        assert {answer.status_code for answer in answers} == {200, 429}
