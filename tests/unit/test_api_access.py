# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may do what: every path of the API with every kind of token, for the own machine and for another."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from kubestead.api.access import PUBLIC, GuardedRoute
from kubestead.api.auth import TRUSTED_SECONDS, Doorkeeper, Token
from kubestead.api.routes import all_routes
from kubestead.store import Store, StoreUnavailableError, TokenRecord
from tests.unit.api_sample import BEARER, CP, WORKER, Files, bearer, serving

OWN, OTHER = CP, WORKER
SCOPES = ("host", "operator", "read", "machine")


@dataclass(frozen=True)
class Row:
    """One line of the authorisation table: a request, and who gets past the door with it.

    `{mac}` in path or body is the machine in question. o: operators, r: the scope read, m: a machine for
    itself, M: a machine, i: an installer, p: everybody.
    """

    method: str
    path: str
    allowed: str
    body: Any = None
    query: str = ""
    route: str = ""  # the path as it is declared, where `path` does not say it

    @property
    def declared(self) -> tuple[str, str]:
        return (self.method, self.route or self.path)


# A machine without a token asks to be adopted, and how far that is; the latter has a secret of its own.
FOR_STRANGERS = {("POST", "/api/enrolments"), ("GET", "/api/enrolments/{id}/condition")}
ENTRY = {"hostname": "new", "role": "worker", "architecture": "amd64"}
TABLE = [
    Row("GET", "/healthz", "p"),
    Row("POST", "/api/state", "om", {"mac": "{mac}", "state": "approved"}),
    Row("GET", "/api/states", "or"),
    Row("GET", "/api/config/{mac}", "orm"),
    Row("POST", "/api/data", "om", {"mac": "{mac}", "key": "k", "value": 1}),
    Row("GET", "/api/data/{mac}", "orm"),
    Row("GET", "/api/data/{mac}/k", "orm", route="/api/data/{mac}/{key}"),
    Row("GET", "/api/machines", "or"),
    Row("GET", "/api/machines/{mac}", "orm"),
    Row("POST", "/api/machines/{mac}/approve", "o", {}),
    Row("POST", "/api/machines/{mac}/lock", "o", {}),
    Row("POST", "/api/machines/{mac}/unlock", "o", {}),
    Row("POST", "/api/machines/{mac}/retire", "o", {}),
    Row("POST", "/api/machines/{mac}/reinstall", "o", {"hostname": "nobody"}),
    Row("POST", "/api/machines/{mac}/install", "o", {}),
    Row("POST", "/api/machines/{mac}/rescue", "o", {}),
    Row("POST", "/api/exchange", "i", {"mac": "{mac}"}),
    Row("POST", "/api/enrolments", "p", {"mac": "{mac}"}),
    Row("GET", "/api/enrolments", "or"),
    Row("GET", f"/api/enrolments/{'0' * 32}/condition", "p", route="/api/enrolments/{id}/condition"),
    Row("POST", "/api/enrolments/BCDF-GHJK/approve", "o", {}, route="/api/enrolments/{code}/approve"),
    Row("POST", "/api/enrolments/BCDF-GHJK/refuse", "o", {}, route="/api/enrolments/{code}/refuse"),
    Row("GET", "/api/events", "or"),
    Row("GET", "/api/stream", "orm", query="?mac={mac}"),
    Row("GET", "/api/registry", "or"),
    Row("PUT", "/api/registry", "o", {"text": "{}"}),
    Row("PUT", "/api/registry/machines/{mac}", "o", ENTRY),
    Row("DELETE", "/api/registry/machines/{mac}", "o"),
    Row("GET", "/api/whoami", "orM"),
    Row("GET", "/api/tokens", "o"),
    Row("POST", "/api/tokens", "o", {"name": "n", "scope": "read"}),
    Row("DELETE", "/api/tokens/99", "o", route="/api/tokens/{id}"),
    Row("GET", "/api/claims", "or"),
    Row("GET", "/api/claims/c", "orm", route="/api/claims/{name}"),
    Row("POST", "/api/claims/c", "om", {"holder": "{mac}"}, route="/api/claims/{name}"),
    Row(
        "PUT",
        "/api/claims/c",
        "om",
        {"holder": "{mac}", "epoch": 1, "data": None},
        route="/api/claims/{name}",
    ),
    Row("POST", "/api/claims/c/force", "o", {"holder": "{mac}"}, route="/api/claims/{name}/force"),
    Row("POST", "/api/claims/c/release", "o", {"epoch": 1}, route="/api/claims/{name}/release"),
    Row("GET", "/api/backup", "o"),
    Row("GET", "/metrics", "or"),
]


@dataclass(frozen=True)
class House:
    """An API, and a token of each scope."""

    api: TestClient
    tokens: dict[str, str]


@contextmanager
def built(folder: Path) -> Iterator[House]:
    with serving(Files.make(folder)) as api:
        tokens = {"host": BEARER}
        for scope in ("operator", "read", "machine"):
            body = {"name": f"a-{scope}", "scope": scope, **({"mac": OWN} if scope == "machine" else {})}
            tokens[scope] = api.post("/api/tokens", json=body).json()["token"]
        yield House(api, tokens)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with built(tmp_path_factory.mktemp("house")) as house:
        yield house


@pytest.fixture(scope="module")
def ransacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One where every request is tried. A stream would not end by itself: here all are ended at once."""
    with built(tmp_path_factory.mktemp("ransacked")) as house:
        cast("FastAPI", house.api.app).state.stream.stop()
        yield house


def filled(row: Row, mac: str) -> tuple[str, Any]:
    body = row.body
    if isinstance(body, dict):
        body = {key: mac if value == "{mac}" else value for key, value in body.items()}
    return (row.path + row.query).replace("{mac}", mac), body


def test_the_table_has_every_path() -> None:
    declared = {(method, route.path) for route in all_routes() for method in route.methods or ()}
    assert declared == {row.declared for row in TABLE}


def test_no_path_stands_beside_the_table(house: House) -> None:
    """What the framework, the dashboard or a mount adds would not ask for a token."""
    app = cast("FastAPI", house.api.app)
    for route in app.routes:
        path = getattr(route, "path", "")
        if path.startswith("/api"):
            assert isinstance(route, GuardedRoute)
            assert route.allowed
            if PUBLIC in route.allowed:
                assert {(method, route.path) for method in route.methods or ()} <= FOR_STRANGERS


@pytest.mark.parametrize("mac", [OWN, OTHER], ids=["own", "other"])
@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.method} {row.route or row.path}")
def test_who_gets_past_the_door(ransacked: House, row: Row, scope: str, mac: str) -> None:
    path, body = filled(row, mac)
    answer = ransacked.api.request(row.method, path, json=body, headers=bearer(ransacked.tokens[scope]))
    about_machine = "{mac}" in path + str(row.body) + row.path + row.query
    letter = {"host": "o", "operator": "o", "read": "r", "machine": "m"}[scope]
    open_to = letter in row.allowed.lower() or "p" in row.allowed
    own_only = scope == "machine" and "m" in row.allowed and about_machine
    expected = open_to and not (own_only and mac != OWN)
    assert answer.status_code != 401
    assert (answer.status_code != 403) == expected, answer.text
    if not expected:
        assert set(answer.json()) == {"detail"}
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="insufficient_scope"'
        assert "worker-1" not in answer.text


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.method} {row.route or row.path}")
def test_nobody_gets_in_without_a_token(house: House, row: Row) -> None:
    path, body = filled(row, OWN)
    for header in ("", "Bearer wrong", "Bearer ksm_wrong", f"Basic {BEARER}"):
        answer = house.api.request(row.method, path, json=body, headers={"Authorization": header})
        if row.allowed == "p":
            assert answer.status_code not in (401, 403)
        else:
            assert answer.status_code == 401
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_body_is_not_read_before_the_door_is_opened(house: House) -> None:
    answer = house.api.post(
        "/api/data", content=b"{", headers={"Authorization": "", "Content-Type": "application/json"}
    )
    assert answer.status_code == 401


def test_a_machine_is_told_both_names_and_nothing_else(house: House) -> None:
    answer = house.api.get(f"/api/machines/{OTHER}", headers=bearer(house.tokens["machine"]))
    assert answer.json() == {
        "detail": f"this token is the machine {OWN}'s own: it opens nothing of {OTHER}",
    }
    stranger = "52:54:00:77:00:99"
    unknown = house.api.get(f"/api/machines/{stranger}", headers=bearer(house.tokens["machine"]))
    assert unknown.status_code == 403, "whether another machine is there is not told either"


@pytest.mark.parametrize("mac", [OWN, OWN.upper(), OWN.replace(":", "-"), OWN.replace(":", "")])
def test_a_machine_may_write_its_name_in_any_notation(house: House, mac: str) -> None:
    headers = bearer(house.tokens["machine"])
    assert house.api.get(f"/api/config/{mac}", headers=headers).status_code == 200
    body = {"mac": mac, "key": "notation", "value": mac}
    assert house.api.post("/api/data", json=body, headers=headers).status_code == 200


def test_a_machine_claims_by_its_mac_or_its_host_name(house: House) -> None:
    headers = bearer(house.tokens["machine"])
    assert house.api.post("/api/claims/mine", json={"holder": OWN}, headers=headers).status_code == 201
    for holder, status in (("cp-1", 201), ("worker-1", 403), ("nobody", 403)):
        answer = house.api.post(f"/api/claims/by-{holder}", json={"holder": holder}, headers=headers)
        assert answer.status_code == status


def test_where_a_machine_reports_from_is_kept(house: House) -> None:
    body = {"mac": OWN, "state": "approved"}
    assert house.api.post("/api/state", json=body).status_code == 200
    assert house.api.get(f"/api/machines/{OWN}").json()["address"] is None, "this was a run"
    assert house.api.post("/api/state", json=body, headers=bearer(house.tokens["machine"])).status_code == 200
    assert house.api.get(f"/api/machines/{OWN}").json()["address"] == "testclient"
    newest = house.api.get("/api/events", params={"limit": 1}).json()[0]
    assert (newest["actor"], newest["kind"]) == ("a-machine", "report")


def test_a_token_is_made_used_and_revoked(house: House) -> None:
    made = house.api.post("/api/tokens", json={"name": "guest", "scope": "read", "expires_in_seconds": 3600})
    assert (made.status_code, made.headers["Cache-Control"]) == (201, "no-store")
    secret, number = made.json()["token"], made.json()["id"]
    assert house.api.get("/api/whoami", headers=bearer(secret)).json() == {
        "name": "guest",
        "scope": "read",
        "mac": None,
    }
    listed = house.api.get("/api/tokens").json()
    assert secret not in str(listed)
    shown = next(token for token in listed if token["id"] == number)
    assert (shown["name"], shown["condition"]) == ("guest", "valid")
    gone = house.api.delete(f"/api/tokens/{number}")
    assert (gone.status_code, gone.json()["condition"]) == (200, "revoked")
    refused = house.api.get("/api/whoami", headers=bearer(secret))
    assert refused.status_code == 401
    assert refused.json()["detail"].startswith('the token "guest" is revoked since 20')
    assert refused.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert house.api.delete("/api/tokens/999999").status_code == 404


def test_an_expired_token_says_so(house: House) -> None:
    made = house.api.post("/api/tokens", json={"name": "old", "scope": "read", "expires_in_seconds": 60})
    app = cast("FastAPI", house.api.app)
    with sqlite3.connect(app.state.settings.database) as database:
        database.execute("UPDATE tokens SET expires_at = '2020-01-01 00:00:00.000000' WHERE name = 'old'")
    database.close()
    refused = house.api.get("/api/whoami", headers=bearer(made.json()["token"]))
    assert (refused.status_code, "is expired since 2020-01-01" in refused.json()["detail"]) == (401, True)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"name": "n", "scope": "machine"}, "mac: a token of the scope machine needs one"),
        ({"name": "n", "scope": "read", "mac": OWN}, "others have none"),
        ({"name": "n", "scope": "root"}, "scope: expected 'operator', 'read' or 'machine'"),
        ({"name": "", "scope": "read"}, "name: must have at least 1 character"),
        ({"name": "n", "scope": "read", "expires_in_seconds": 5}, "expires_in_seconds: expected"),
    ],
)
def test_a_wish_for_a_token_that_is_no_good(house: House, body: dict[str, Any], words: str) -> None:
    answer = house.api.post("/api/tokens", json=body)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]


def test_the_host_token_opens_a_broken_store(tmp_path: Path) -> None:
    files = Files.make(tmp_path)
    with serving(files) as api:
        secret = api.post("/api/tokens", json={"name": "a", "scope": "operator"}).json()["token"]
        with sqlite3.connect(files.database) as database:
            database.execute("DROP TABLE tokens")
        database.close()
        assert api.get("/api/states").status_code == 200
        refused = api.get("/api/states", headers=bearer(secret))
        assert (refused.status_code, "no such table" in refused.json()["detail"]) == (503, True)


class _Tokens:
    """The store's tokens, in a process of their own so to speak: what is revoked here tells nobody."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.asked = 0
        self.broken = False

    def find_token(self, secret: str) -> TokenRecord | None:
        self.asked += 1
        if self.broken:
            raise StoreUnavailableError("gone")
        return self.store.find_token(secret)

    def tokens(self) -> list[TokenRecord]:
        if self.broken:
            raise StoreUnavailableError("gone")
        return self.store.tokens()


def test_a_known_token_is_not_looked_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("kubestead.api.auth.time.monotonic", lambda: now)
    mine, theirs = Store.at(tmp_path / "machines.db"), Store.at(tmp_path / "machines.db")
    tokens = _Tokens(mine)
    keeper = Doorkeeper(Token(BEARER), tokens)
    record, secret = theirs.create_token("a", "read")
    header = f"Bearer {secret}".encode()

    async def follow() -> None:
        nonlocal now
        caller = await keeper.identify(header)
        assert (caller.name, caller.scope, tokens.asked) == ("a", "read", 1)
        for _second in range(10):
            now += 1
            await keeper.look_again()
            assert await keeper.identify(header) == caller
        assert tokens.asked == 1
        # What cannot be compared any more is looked up again, and then not believed.
        tokens.broken = True
        now += TRUSTED_SECONDS - 0.1
        await keeper.look_again()
        assert keeper.at_once(header) == caller
        now += 0.2
        assert keeper.at_once(header) is None
        with pytest.raises(StoreUnavailableError):
            await keeper.identify(header)
        tokens.broken = False
        assert keeper.still_valid(caller)
        # Another process revokes it.
        theirs.revoke_token(record.id)
        now += 1
        await keeper.look_again()
        assert not keeper.still_valid(caller)
        assert keeper.at_once(header) is None

    asyncio.run(follow())
    mine.close()
    theirs.close()


def test_a_token_that_is_revoked_while_it_is_looked_up(tmp_path: Path) -> None:
    store = Store.at(tmp_path / "machines.db")
    record, secret = store.create_token("a", "read")
    found, revoked = threading.Event(), threading.Event()

    class Slow(_Tokens):
        def find_token(self, secret: str) -> TokenRecord | None:
            token = super().find_token(secret)
            found.set()
            assert revoked.wait(10)
            return token

    keeper = Doorkeeper(Token(BEARER), Slow(store))

    async def race() -> None:
        asking = asyncio.create_task(keeper.identify(f"Bearer {secret}".encode()))
        await asyncio.to_thread(found.wait, 10)
        store.revoke_token(record.id)
        keeper.forget()
        revoked.set()
        await asking
        assert keeper.at_once(f"Bearer {secret}".encode()) is None, "what was true before is not remembered"

    asyncio.run(race())
    store.close()
