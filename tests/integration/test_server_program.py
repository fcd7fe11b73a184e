# SPDX-License-Identifier: GPL-3.0-or-later
"""The real program with TLS and boot files: what a machine boots, stopping, being killed."""

from __future__ import annotations

import json
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from kubestead.model.state_api_client import StateApiClient, StateApiUnreachableError
from tests.integration.server_sample import Place, Program, started
from tests.unit.api_sample import BEARER, free_port, until
from tests.unit.boot_sample import boot_folder, boot_settings

MAC = "52:54:00:77:00:11"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place.make(tmp_path)
    entry = {"hostname": "cp-1", "role": "control-plane", "architecture": "amd64"}
    (tmp_path / "registry.json").write_text(json.dumps({MAC: entry}))
    return made


@contextmanager
def client_of(place: Place, program: Program) -> Iterator[StateApiClient]:
    client = StateApiClient(
        f"https://localhost:{program.port}", BEARER, ca_file=str(place.pki / "ca.crt"), timeout=20
    )
    try:
        yield client
    finally:
        client.close()


class Firmware:
    """A machine that boots from the network, and its installer."""

    def __init__(self, port: int) -> None:
        """Ask the boot port `port`."""
        self._port = port

    def asks(self, path: str, body: bytes | None = None) -> str:
        """What it is answered."""
        request = Request(f"http://127.0.0.1:{self._port}{path}", body, {"User-Agent": "iPXE/1.21.1"})
        with urlopen(request, timeout=20) as answer:
            text: str = answer.read().decode()
            return text

    def boots(self, mac: str = MAC) -> str:
        """The script that it is given."""
        return self.asks(f"/boot/{mac}.ipxe?platform=efi&buildarch=x86_64")

    def is_refused(self, path: str, body: bytes | None = None) -> int:
        """The status of an answer that is no."""
        try:
            self.asks(path, body)
        except HTTPError as error:
            with error:
                return error.code
        return 200

    def token(self) -> str:
        """The installer's token."""
        answer = self.asks(f"/boot/answers/{MAC}/install.env")
        (line,) = [line for line in answer.splitlines() if line.startswith("KS_TOKEN=")]
        return line.split("'")[1]


def boot_arguments(place: Place) -> tuple[int, list[str]]:
    """A boot port, and what makes the program serve it."""
    port = free_port()
    folder, shared = boot_folder(place.boot), boot_settings(place.folder / "boot.json")
    arguments = ["--boot-port", str(port), "--boot-dir", str(folder), "--boot-settings", str(shared)]
    return port, arguments


def test_a_machine_is_installed_though_the_api_is_killed_in_between(place: Place) -> None:
    boot_port, boot = boot_arguments(place)
    machine, port = Firmware(boot_port), free_port()
    with started(place, port, *place.tls_arguments(), *boot) as program, client_of(place, program) as client:
        assert "cp-1 boots its local disk: no installation is asked for" in machine.boots()
        assert "menu " in machine.boots("52:54:00:77:00:99")
        client.act(MAC, "install")
        client.act(MAC, "lock")
        assert "cp-1 boots its local disk: it is locked" in machine.boots()
        client.act(MAC, "unlock")
        assert "attempt 1 of 3" in machine.boots("52-54-00-77-00-11")
        token = machine.token()
        assert machine.asks(f"/boot/report?token={token}&state=installing&phase=disk&progress=50") == "ok\n"
        program.process.send_signal(signal.SIGKILL)
        program.process.wait(20)
        log = program.log.read_text()
    with started(place, port, *place.tls_arguments(), *boot) as program, client_of(place, program) as client:
        record = client.machine(MAC)
        assert (record["state"], record["progress"]) == ("installing", 50)
        assert record["install"]["attempts"] == 1
        assert machine.asks("/boot/report", f"token={token}&state=installed".encode()) == "ok\n"
        assert machine.asks(f"/boot/log?token={token}", b"the end") == "ok\n"
        assert "cp-1 boots its local disk: no installation is asked for" in machine.boots()
        assert client.machine(MAC)["state"] == "installed"
        url = f"https://localhost:{program.port}"
        own = StateApiClient(url, token, ca_file=str(place.pki / "ca.crt"), timeout=20)
        made = own.request("POST", "/api/exchange", {"mac": MAC})["token"]
        own.close()
        assert machine.is_refused(f"/boot/report?token={token}&state=installed") == 403
        log += program.log.read_text()
    assert token not in log
    assert made not in log
    assert "/boot/report" in log


def test_what_hangs_boots_the_local_disk(place: Place) -> None:
    """Another program holds the database: nothing can be written."""
    boot_port, boot = boot_arguments(place)
    machine = Firmware(boot_port)
    with (
        started(place, free_port(), *place.tls_arguments(), *boot) as program,
        client_of(place, program) as client,
    ):
        client.act(MAC, "install")
        with closing(sqlite3.connect(place.folder / "machines.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            began = time.monotonic()
            assert "cp-1" not in machine.boots()
            assert 2 < time.monotonic() - began < 15
            other.execute("ROLLBACK")
        client.act(MAC, "lock")
        assert client.machine(MAC)["install"]["attempts"] == 0


def test_it_stops_with_streams_open(place: Place) -> None:
    with (
        started(place, free_port(), *place.tls_arguments()) as program,
        client_of(place, program) as client,
    ):
        streams = [client.stream() for _ in range(3)]
        assert {next(stream).event for stream in streams} == {"snapshot"}
        began = time.monotonic()
        program.process.terminate()
        for stream in streams:
            with pytest.raises(StateApiUnreachableError):
                next(stream)
        assert program.process.wait(20) == 0
        assert time.monotonic() - began < 9
        assert program.has_told("STOPPING=1")


def test_it_can_be_killed_and_started_on_its_port_again(place: Place) -> None:
    port = free_port()
    with started(place, port, *place.tls_arguments()) as program, client_of(place, program) as client:
        stream = client.stream()
        assert next(stream).event == "snapshot"
        client.report_state(MAC, "provisioning", progress=7)
        program.process.send_signal(signal.SIGKILL)
        with pytest.raises(StateApiUnreachableError):
            until(lambda: next(stream) is None)
    with started(place, port, *place.tls_arguments()) as program, client_of(place, program) as client:
        assert client.states()[MAC]["progress"] == 7
