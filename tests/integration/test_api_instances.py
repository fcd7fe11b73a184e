# SPDX-License-Identifier: GPL-3.0-or-later
"""Several State APIs on one PostgreSQL: they share what happens, and outlive the server's absence."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kubestead.model.state_api_client import StateApiClient, StateApiRefusedError, StateApiUnreachableError
from tests.integration.postgresql import PostgreSQL, postgresql
from tests.unit.api_sample import BEARER, CP, WORKER, Files, Running, running, until

INSTANCES = 2


@dataclass
class Instances:
    """The APIs, and the server behind them."""

    apis: list[Running]
    server: PostgreSQL

    def clients(self) -> list[StateApiClient]:
        return [api.client() for api in self.apis]


@pytest.fixture(scope="module")
def instances(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instances]:
    with postgresql() as server, ExitStack() as stack:
        url = tmp_path_factory.mktemp("url") / "database.url"
        url.touch(mode=0o600)
        url.write_text(server.url(server.new_database()) + "\n")
        apis = []
        for _number in range(INSTANCES):
            files = Files.make(tmp_path_factory.mktemp("instance"))
            apis.append(stack.enter_context(running(files, "--database-url-file", str(url))))
        yield Instances(apis, server)


def status_of(call: Callable[[], Any]) -> int:
    try:
        call()
    except StateApiRefusedError as error:
        return error.status
    return 200


def _is_well(client: StateApiClient) -> bool:
    return status_of(client.health) == 200


def at_once(calls: Sequence[Callable[[], Any]]) -> list[int]:
    """The statuses of calls that begin together."""
    begin, found = threading.Barrier(len(calls)), []

    def run(call: Callable[[], Any]) -> None:
        begin.wait()
        found.append(status_of(call))

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(found)


def test_they_say_what_they_stand_on(instances: Instances) -> None:
    for client in instances.clients():
        assert client.health()["store"] == "postgresql"


def test_a_stream_tells_what_another_instance_was_told(instances: Instances) -> None:
    here, there = instances.clients()
    streams = [iter(client.stream()) for client in instances.clients()]
    for stream in streams:
        assert next(stream).event == "snapshot"
    here.report_state(CP, "provisioning", message="told here")
    there.report_state(WORKER, "provisioning", message="told there")
    for stream in streams:
        seen: dict[str, str] = {}
        numbers: list[int] = []
        while set(seen) != {CP, WORKER}:
            event = next(stream)
            seen |= {mac: machine["message"] for mac, machine in event.data["machines"].items()}
            numbers += [each["id"] for each in event.data["events"]]
        assert seen == {CP: "told here", WORKER: "told there"}
        assert numbers == sorted(set(numbers))


def test_no_event_is_passed_over(instances: Instances) -> None:
    """Events get their ids before they are visible; a stream that goes by ids must not run ahead."""
    count = 60
    position = instances.clients()[0].events(limit=1)[0]["id"]
    stream = iter(instances.clients()[1].stream())
    next(stream)

    def lock_and_unlock(client: StateApiClient, mac: str) -> None:
        for _ in range(count // 2):
            client.act(mac, "lock")
            client.act(mac, "unlock")

    writers = [
        threading.Thread(target=lock_and_unlock, args=(client, mac))
        for mac in (CP, WORKER)
        for client in instances.clients()
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    written = {event["id"] for event in instances.clients()[0].events(after=position, limit=1000)}
    told: set[int] = set()
    while not written <= told:
        told |= {event["id"] for event in next(stream).data["events"]}
    assert len(written) >= count


def test_a_claim_is_won_by_one(instances: Instances) -> None:
    for number in range(5):
        calls = [
            partial(client.take_claim, f"cluster-{number}", mac)
            for client, mac in zip(instances.clients(), (CP, WORKER), strict=True)
        ]
        assert at_once(calls) == [200, 409]


def test_two_operators_at_two_instances(instances: Instances) -> None:
    for _round in range(5):
        version = instances.clients()[0].act(CP, "lock")["version"]
        calls = [partial(client.act, CP, "unlock", version=version) for client in instances.clients()]
        assert at_once(calls) == [200, 409]


def test_a_token_that_is_revoked_at_another_instance(instances: Instances) -> None:
    here, there = instances.clients()
    made = here.create_token("guest", "read")
    guests = [StateApiClient(api.url, made["token"]) for api in instances.apis]
    for guest in guests:
        assert guest.states()
    stream = iter(guests[1].stream())
    next(stream)
    here.revoke_token(made["id"])
    assert status_of(guests[0].states) == 401
    revoked = time.monotonic()
    until(lambda: status_of(guests[1].states) == 401)
    assert time.monotonic() - revoked < 3, "two seconds, and what a busy computer adds"
    ended = threading.Event()

    def read() -> None:
        with suppress(StateApiUnreachableError):
            for _event in stream:
                pass
        ended.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert ended.wait(10)
    assert there.states()


def test_the_server_goes_and_comes_back(instances: Instances) -> None:
    here, there = instances.clients()
    here.report_state(CP, "provisioning", message="before")
    instances.server.stop("immediate")
    try:
        for client in (here, there):
            assert status_of(partial(client.report_state, CP, "provisioning")) == 503
            assert status_of(client.states) == 503
            assert status_of(client.health) == 503
            # What does not need the store goes on.
            assert client.config(CP)["hostname"] == "cp-1"
            assert json.dumps(client.registry())
    finally:
        instances.server.start()
    for client in (here, there):
        until(partial(_is_well, client))
        assert client.states()[CP]["message"] == "before"
    for client in (there, here):
        client.report_state(CP, "provisioning", message="after")
    # A stream begins with the picture as it was looked at last, and goes on to what is.
    told = (
        event.data["machines"].get(CP, {}).get("message")
        for event in there.stream(deadline=time.monotonic() + 30)
    )
    assert "after" in told


def test_a_backup_of_it(instances: Instances, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    with file.open("wb") as stream:
        assert instances.clients()[0].backup(stream) == file.stat().st_size > 0


def test_an_instance_is_killed(instances: Instances, tmp_path: Path) -> None:
    here, there = instances.apis
    acknowledged = -1
    client = here.client()

    def report() -> None:
        nonlocal acknowledged
        for number in range(1_000_000):
            client.report_state(CP, "provisioning", message=str(number))
            acknowledged = number

    def report_until_the_end() -> None:
        with pytest.raises(StateApiUnreachableError):
            report()

    reporter = threading.Thread(target=report_until_the_end)
    reporter.start()
    until(lambda: acknowledged > 20, 30)
    here.process.kill()
    reporter.join()
    assert int(there.client().states()[CP]["message"]) >= acknowledged
    assert BEARER not in here.log.read_text()
