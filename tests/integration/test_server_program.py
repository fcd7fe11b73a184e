# SPDX-License-Identifier: GPL-3.0-or-later
"""The real program with TLS and boot files: what a machine boots, stopping, being killed."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from kubestead.model.state_api_client import StateApiClient, StateApiUnreachableError
from tests.integration.server_sample import Place, Program, started
from tests.unit.api_sample import BEARER, free_port, until

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


def test_what_a_machine_boots(place: Place) -> None:
    boot_port = free_port()
    boot = ["--boot-port", str(boot_port), "--boot-dir", str(place.boot)]

    def script(mac: str = MAC) -> str:
        with urlopen(f"http://127.0.0.1:{boot_port}/boot/{mac}.ipxe?platform=efi", timeout=20) as answer:
            text: str = answer.read().decode()
            return text

    installer = f"chain --autofree http://127.0.0.1:{boot_port}/installers/{MAC}.ipxe ||"
    with (
        started(place, free_port(), *place.tls_arguments(), *boot) as program,
        client_of(place, program) as client,
    ):
        assert "cp-1 boots its local disk: no installation is asked for" in script()
        assert "menu " in script("52:54:00:77:00:99")
        client.act(MAC, "reinstall", hostname="cp-1")
        assert installer in script("52-54-00-77-00-11")
        client.act(MAC, "lock")
        assert "cp-1 boots its local disk: it is locked" in script()
        client.act(MAC, "unlock")
        assert installer in script()
        client.report_state(MAC, "installing", progress=5)
        assert installer in script()
        client.report_state(MAC, "installed")
        assert "chain" not in script()


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
