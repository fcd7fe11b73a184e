# SPDX-License-Identifier: GPL-3.0-or-later
"""The PXE server at a look: what answers, what does not, and what cannot be seen."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kubestead.cli import pxe_status
from kubestead.cli.pxe_status import fetch_by_tftp, look
from kubestead.dhcp.reservations import Outcome
from kubestead.dhcp.settings import ServerSettings

NOW = int(time.time())
SYSTEMCTL = """#!/bin/sh
case "$2" in
{units}
*) echo LoadState=not-found ;;
esac
"""


class Web(BaseHTTPRequestHandler):
    """The server's web server, and the State API's boot port behind it."""

    def do_GET(self) -> None:
        self._answer(b"#!ipxe\nchain\n")

    def do_HEAD(self) -> None:
        self._answer(b"")

    def _answer(self, text: bytes) -> None:
        found = self.path in ("/boot.ipxe", "/boot/02-00-00-00-00-00.ipxe")
        self.send_response(200 if found else 404)
        self.end_headers()
        self.wfile.write(text if found else b"")

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


class Host:
    """A host with a PXE server in a folder and on ports of the loopback."""

    def __init__(self, folder: Path, web: str) -> None:
        self.folder, self.settings_file, self.outcome = (
            folder,
            folder / "server.json",
            folder / "outcome.json",
        )
        self.settings: dict[str, Any] = {
            **asdict(
                ServerSettings(
                    dhcp="dnsmasq", unit="pxe-dhcp-dnsmasq.service", plan={"address": "127.0.0.1"}, config="",
                    reservations="", include="", check=(), check_in="", leases=str(folder / "leases"),
                    registry="/srv/http/machines/registry.json", url=web, boot_url=web,
                )
            )
        }  # fmt: skip
        (folder / "leases").write_text(f"{NOW + 3600} 52:54:00:77:00:11 10.0.0.11 cp-1 *\n")
        self.runs("pxe-dhcp-dnsmasq", "pxe-tftp", "pxe-http", "pxe-reservations")
        self.outcome.write_text(
            json.dumps(asdict(Outcome("registry.json", "2026-11-21T20:00:00+00:00", 3, "x")))
        )

    def runs(self, *units: str) -> None:
        """Let these be the units that systemd knows and runs."""
        answer = r"printf 'LoadState=loaded\nActiveState=active\nSubState=running\nNRestarts=0\n'"
        program = self.folder / "systemctl"
        program.write_text(
            SYSTEMCTL.format(units="\n".join(f"{unit}.service) {answer} ;;" for unit in units))
        )
        program.chmod(0o755)

    def look(self) -> tuple[dict[str, tuple[bool, str]], pxe_status.PxeStatus]:
        """The checks by name, and all of it."""
        self.settings_file.write_text(json.dumps(self.settings))
        found = look(self.settings_file, self.outcome)
        return {check.name: (check.ok, check.found) for check in found.checks}, found


@pytest.fixture
def tftp(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A TFTP server that has boot.ipxe."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    monkeypatch.setattr(pxe_status, "TFTP_PORT", server.getsockname()[1])

    def serve() -> None:
        while True:
            asked, client = server.recvfrom(1024)
            if asked == b"stop":
                return
            if asked.startswith(b"\0\1"):
                there = asked.split(b"\0\1", 1)[1].startswith(b"boot.ipxe\0octet\0")
                server.sendto(b"\0\3\0\1#!ipxe\n" if there else b"\0\5\0\1no such file\0", client)

    thread = threading.Thread(target=serve)
    thread.start()
    yield
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"stop", server.getsockname())
    thread.join()
    server.close()


@pytest.fixture
def host(tmp_path: Path, tftp: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    web = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    yield Host(tmp_path, f"http://127.0.0.1:{web.server_address[1]}")
    web.shutdown()
    web.server_close()


def test_all_is_well(host: Host) -> None:
    checks, found = host.look()
    assert [name for name, (ok, _text) in checks.items() if not ok] == []
    assert list(checks) == ["DHCP", "TFTP", "HTTP", "boot port", "reservations"]
    assert "boot.ipxe answers" in checks["TFTP"][1]
    assert "3 machines" in checks["reservations"][1]
    assert found.leases
    assert [lease.hostname for lease in found.leases] == ["cp-1"]
    assert found.unseen == []


def test_what_does_not_answer_is_told(host: Host) -> None:
    host.settings["url"] += "/elsewhere"
    host.settings["boot_url"] = "http://127.0.0.1:1"
    host.runs("pxe-http", "pxe-reservations")
    checks, _found = host.look()
    assert checks["DHCP"] == (False, "there is no pxe-dhcp-dnsmasq.service")
    assert checks["TFTP"] == (False, "there is no pxe-tftp.service")
    assert "answers 404" in checks["HTTP"][1]
    assert "refused" in checks["boot port"][1]
    with pytest.raises(ValueError, match="no such file"):
        fetch_by_tftp("127.0.0.1", "other", pxe_status.TFTP_PORT)


def test_reservations_that_were_refused(host: Host) -> None:
    outcome = Outcome("registry.json", "2026-11-21T20:00:00+00:00", 3, "x", ("cp-1 is wrong", "cp-2 too"))
    host.outcome.write_text(json.dumps(asdict(outcome)))
    ok, text = host.look()[0]["reservations"]
    assert not ok
    assert "cp-1 is wrong / cp-2 too; those of 3 machines stay in force" in text
    host.outcome.unlink()
    assert "was not read yet" in host.look()[0]["reservations"][1]
    host.settings["registry"] = ""
    assert "reservations" not in host.look()[0]


def test_a_router_serves_dhcp(host: Host) -> None:
    host.settings.update(dhcp="none", unit="", leases="", registry="")
    checks, found = host.look()
    assert checks["DHCP"][0]
    assert "the router's" in checks["DHCP"][1]
    assert found.leases is None


def test_without_a_pxe_server_it_says_so(tmp_path: Path) -> None:
    found = look(tmp_path / "server.json", tmp_path / "outcome.json")
    assert (found.checks, found.leases) == ([], None)
    assert "this host has no PXE server" in found.unseen[0]
    (tmp_path / "server.json").write_text("{}")
    found = look(tmp_path / "server.json", tmp_path / "outcome.json")
    assert "playbooks/pxe_server.yml" in found.checks[0].found


def test_leases_that_only_root_may_read(host: Host) -> None:
    (host.folder / "leases").unlink()
    (host.folder / "leases").mkdir()  # nobody, root included, reads a folder as a file
    _checks, found = host.look()
    assert found.leases is None
    assert "cannot be read" in found.unseen[0]
