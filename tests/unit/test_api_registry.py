# SPDX-License-Identifier: GPL-3.0-or-later
"""The live registry through the API: pushed, edited one machine at a time, and edited in place."""

from __future__ import annotations

import json
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from kubestead.model.atomic import write_atomically
from kubestead.model.registry_lock import locked
from kubestead.model.registry_sync import ABSENT, entry_fingerprint, fingerprint
from tests.unit.api_sample import CP, REGISTRY, WORKER, Files, bearer, serving, until

NEW = "52:54:00:77:00:31"
ENTRY = {"hostname": "compute-1", "role": "compute", "architecture": "amd64", "shelf": 3}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files.make(tmp_path)


@pytest.fixture
def api(files: Files) -> Iterator[TestClient]:
    with serving(files) as client:
        yield client


def text(content: Any) -> str:
    return json.dumps(content, indent=1)


def push(api: TestClient, content: Any, **more: Any) -> Any:
    return api.put("/api/registry", json={"text": text(content), **more})


def kept(files: Files) -> list[Path]:
    return sorted(files.registry.parent.glob("registry.json.*~"))


def test_the_registry_is_shown(api: TestClient, files: Files) -> None:
    shown = api.get("/api/registry").json()
    assert shown["path"] == str(files.registry)
    assert shown["text"] == files.registry.read_text()
    assert shown["sha256"] == fingerprint(files.registry.read_text())
    assert (shown["condition"], shown["problems"], shown["pushed_sha256"]) == ("ok", [], None)
    assert any("rack is not known" in warning for warning in shown["warnings"])
    reader = api.post("/api/tokens", json={"name": "r", "scope": "read"}).json()["token"]
    shown = api.get("/api/registry", headers=bearer(reader)).json()
    assert (shown["text"], shown["condition"]) == (None, "ok")
    assert "password" not in json.dumps(shown)


def test_a_push_replaces_what_was_pushed(api: TestClient, files: Files) -> None:
    files.registry.chmod(0o640)
    first = {**REGISTRY, NEW: ENTRY}
    before = files.registry.read_text()
    refused = push(api, first)
    assert refused.status_code == 412
    assert set(refused.json()) == {"detail", "difference"}
    assert "+++ pushed" in refused.json()["difference"]
    assert "compute-1" in refused.json()["difference"]
    assert files.registry.read_text() == before
    assert not kept(files)
    # What the caller has seen may be replaced, and from then on what was pushed.
    done = push(api, first, expected_sha256=fingerprint(before))
    assert done.status_code == 200, done.text
    assert done.json()["pushed_sha256"] == done.json()["sha256"] == fingerprint(text(first))
    assert api.get(f"/api/config/{NEW}").json()["hostname"] == "compute-1"
    assert stat.S_IMODE(files.registry.stat().st_mode) == 0o640
    assert [file.read_text() for file in kept(files)] == [before]
    assert stat.S_IMODE(kept(files)[0].stat().st_mode) == 0o640
    assert push(api, REGISTRY).status_code == 200
    assert len(kept(files)) == 2
    assert api.get(f"/api/config/{NEW}").status_code == 404
    messages = [event["message"] for event in api.get("/api/events").json() if event["kind"] == "registry"]
    assert messages == [
        "replaced: 0 machines added, 0 changed, 1 removed",
        "replaced: 1 machines added, 0 changed, 0 removed",
    ]


def test_a_push_does_not_undo_an_edit(api: TestClient, files: Files) -> None:
    assert push(api, REGISTRY, force=True).status_code == 200
    edited = {**REGISTRY, WORKER: {**REGISTRY[WORKER], "hostname": "by-hand"}}
    files.registry.write_text(text(edited))
    for more in ({}, {"expected_sha256": fingerprint(text(REGISTRY))}):
        refused = push(api, {**REGISTRY, NEW: ENTRY}, **more)
        assert refused.status_code == 412
        assert '-  "hostname": "by-hand"' in refused.json()["difference"]
    assert files.registry.read_text() == text(edited)
    assert push(api, REGISTRY, force=True).status_code == 200
    assert files.registry.read_text() == text(REGISTRY)
    assert kept(files)[-1].read_text() == text(edited)


def test_another_controllers_push_is_not_undone_either(api: TestClient) -> None:
    first = push(api, REGISTRY, force=True).json()["sha256"]
    assert push(api, {**REGISTRY, NEW: ENTRY}, expected_sha256=first).status_code == 200
    late = push(api, {WORKER: REGISTRY[WORKER]}, expected_sha256=first)
    assert late.status_code == 412


def test_what_is_there_already_is_left_alone(api: TestClient, files: Files) -> None:
    before = files.registry.stat()
    for content in (files.registry.read_text(), text(REGISTRY)):
        done = api.put("/api/registry", json={"text": content})
        assert done.status_code == 200
        assert done.json()["pushed_sha256"] == done.json()["sha256"]
    assert files.registry.stat().st_ino == before.st_ino
    assert not kept(files)
    assert api.get("/api/events").json() == []


def test_a_push_of_something_invalid(api: TestClient, files: Files) -> None:
    before = files.registry.read_text()
    wrong = {**REGISTRY, CP: {**REGISTRY[CP], "role": "king", "ip": "1.2"}}
    for more in ({}, {"force": True}):
        answer = push(api, wrong, **more)
        assert answer.status_code == 422
        assert len(answer.json()["problems"]) == 2
        assert "king" in answer.json()["detail"]
        assert str(files.registry) in answer.json()["detail"]
    assert api.put("/api/registry", json={"text": "{"}).status_code == 422
    assert files.registry.read_text() == before


def test_a_push_mends_a_broken_registry(api: TestClient, files: Files) -> None:
    files.registry.write_bytes(b"\xff{")
    assert push(api, REGISTRY).status_code == 412
    assert push(api, REGISTRY, force=True).json()["condition"] == "ok"
    files.registry.unlink()
    assert push(api, REGISTRY).json()["condition"] == "ok"


def test_a_symbolic_link_stays_one(api: TestClient, files: Files) -> None:
    real = files.registry.with_name("real.json")
    files.registry.rename(real)
    files.registry.symlink_to(real)
    assert push(api, {WORKER: REGISTRY[WORKER]}, force=True).status_code == 200
    assert files.registry.is_symlink()
    assert json.loads(real.read_text()) == {WORKER: REGISTRY[WORKER]}


def test_one_machine_is_added_changed_and_removed(api: TestClient, files: Files) -> None:
    path = f"/api/registry/machines/{NEW.replace(':', '-')}"
    added = api.put(path, json=ENTRY)
    assert (added.status_code, added.json()["hostname"]) == (201, "compute-1")
    assert list(json.loads(files.registry.read_text())) == [CP, WORKER, NEW]
    changed = api.put(path, json={**ENTRY, "ip": "10.77.0.31"})
    assert (changed.status_code, changed.json()["ip"], changed.json()["shelf"]) == (200, "10.77.0.31", 3)
    assert json.loads(files.registry.read_text())[CP] == REGISTRY[CP], "secrets and notes of others are kept"
    gone = api.delete(path)
    assert (gone.status_code, gone.json()["condition"]) == (200, "ok")
    assert json.loads(files.registry.read_text()) == REGISTRY
    assert api.delete(path).status_code == 404
    messages = [(event["mac"], event["message"]) for event in api.get("/api/events").json()]
    assert messages == [
        (NEW, "removed compute-1"),
        (NEW, "changed compute-1"),
        (NEW, "added compute-1"),
    ]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"hostname": "x"}, ["role is missing", "architecture is missing"]),
        ({**ENTRY, "role": "king"}, ['role is "king"']),
        ({**ENTRY, "hostname": "cp-1"}, ["one of its own"]),
        ([], ["not a JSON object"]),
    ],
)
def test_a_wrong_entry_changes_nothing(api: TestClient, files: Files, entry: Any, words: list[str]) -> None:
    before = files.registry.read_text()
    answer = api.put(f"/api/registry/machines/{NEW}", json=entry)
    assert answer.status_code == 422
    assert all(word in answer.json()["detail"] for word in words)
    assert files.registry.read_text() == before


def test_a_broken_registry_is_not_edited_blindly(api: TestClient, files: Files) -> None:
    files.registry.write_text('{"half": ')
    for answer in (
        api.put(f"/api/registry/machines/{NEW}", json=ENTRY),
        api.delete(f"/api/registry/machines/{CP}"),
    ):
        assert answer.status_code == 409
        assert "has to be put right first" in answer.json()["detail"]
    assert files.registry.read_text() == '{"half": '


def test_a_registry_begins_with_its_first_machine(api: TestClient, files: Files) -> None:
    files.registry.unlink()
    assert api.put(f"/api/registry/machines/{NEW}", json=ENTRY).status_code == 201
    assert json.loads(files.registry.read_text()) == {NEW: ENTRY}


def test_two_writers_of_the_registry(api: TestClient, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubestead.api.live_registry._LOCK_SECONDS", 0.1)
    with locked(files.registry):
        for answer in (api.put(f"/api/registry/machines/{NEW}", json=ENTRY), push(api, {}, force=True)):
            assert answer.status_code == 503
            assert "is being changed by" in answer.json()["detail"]
            assert answer.headers["Retry-After"] == "5"
    monkeypatch.undo()
    macs = [f"52:54:00:77:01:{number:02x}" for number in range(8)]

    def add(mac: str) -> None:
        entry = {**ENTRY, "hostname": f"m-{mac[-2:]}"}
        assert api.put(f"/api/registry/machines/{mac}", json=entry).status_code == 201

    threads = [threading.Thread(target=add, args=(mac,)) for mac in macs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(json.loads(files.registry.read_text())) == {*REGISTRY, *macs}, "no edit is lost"


def test_a_registry_that_cannot_be_written(files: Files, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    files = Files(files.token, files.database, folder / "registry.json")
    with serving(files) as api:  # a folder that is not there: for root all others can be written
        for answer in (api.put(f"/api/registry/machines/{NEW}", json=ENTRY), push(api, {})):
            assert answer.status_code == 503
            assert "cannot be written" in answer.json()["detail"]
            assert answer.json()["detail"].endswith("The registry is as it was.")


def test_edits_in_place_leave_events(files: Files) -> None:
    with serving(files, registry_poll_seconds=0.05) as api:

        def noted() -> list[str]:
            return [
                event["message"] for event in api.get("/api/events").json() if event["kind"] == "registry"
            ]

        write_atomically(files.registry, text({**REGISTRY, NEW: ENTRY}))
        until(lambda: len(noted()) == 1)
        write_atomically(files.registry, "{")
        until(lambda: len(noted()) == 2)
        files.registry.unlink()
        until(lambda: len(noted()) == 3)
        assert push(api, REGISTRY).status_code == 200
        until(lambda: len(noted()) == 4)
        gone, invalid, edited = noted()[1:]
        assert edited == "edited in place: 3 machines"
        assert invalid.startswith("an edit is invalid, the last valid one stays in force: ")
        assert gone == "the file is gone; the last valid one stays in force"
        assert noted()[0].startswith("replaced: ")


def test_nobodys_edit_of_a_machine_is_undone_unseen(api: TestClient, files: Files) -> None:
    path = f"/api/registry/machines/{NEW}"
    assert api.put(path, params={"expected": ABSENT}, json=ENTRY).status_code == 201
    second = api.put(path, params={"expected": ABSENT}, json={**ENTRY, "hostname": "another"})
    assert second.status_code == 412
    assert "compute-1" in second.json()["difference"]
    seen = entry_fingerprint(dict(reversed(ENTRY.items())))
    moved = {**ENTRY, "shelf": 4}
    assert api.put(path, params={"expected": seen}, json=moved).status_code == 200
    assert api.put(path, params={"expected": seen}, json=ENTRY).status_code == 412
    assert api.delete(path, params={"expected": seen}).status_code == 412
    assert json.loads(files.registry.read_text())[NEW] == moved
    assert api.delete(path, params={"expected": entry_fingerprint(moved)}).status_code == 200
    assert api.put(path, params={"expected": "soon"}, json=ENTRY).status_code == 422


def test_a_large_registry_may_be_pushed_by_an_operator_only(api: TestClient, files: Files) -> None:
    many = {
        f"52:54:01:00:{number >> 8:02x}:{number & 255:02x}": {**ENTRY, "hostname": f"node-{number}"}
        for number in range(6000)
    }
    seen = fingerprint(files.registry.read_text())
    reader = api.post("/api/tokens", json={"name": "r", "scope": "read"}).json()["token"]
    body = {"text": text(many), "expected_sha256": seen}
    assert len(json.dumps(body)) > 600_000
    assert api.put("/api/registry", json=body, headers=bearer(reader)).status_code == 413
    assert api.put("/api/registry", json=body).status_code == 200
    assert len(api.get("/api/machines").json()) == 6000
    assert api.post("/api/data", json={"mac": CP, "key": "k", "value": text(many)}).status_code == 413
