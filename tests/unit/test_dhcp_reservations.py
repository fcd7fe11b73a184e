# SPDX-License-Identifier: GPL-3.0-or-later
"""The live registry's machines in DHCP: what is valid gets there, what is not changes nothing."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from kubestead.dhcp.reservations import RefusedError, take
from kubestead.dhcp.service import Follower, known_outcome, main
from kubestead.dhcp.settings import ServerSettings
from kubestead.exit_codes import ExitCode
from kubestead.model.pxe_reservations import inline, reservations

MACHINES = [
    {"mac": "52:54:00:77:00:11", "hostname": "cp-1", "ip": "10.0.0.11"},
    {"mac": "52:54:00:77:00:12", "hostname": "cp-2", "ip": ""},
    {"mac": "52:54:00:77:00:13", "hostname": "", "ip": "10.0.0.13"},
    {"mac": "52:54:00:77:00:14", "hostname": "", "ip": ""},
]


def entry(hostname: str, **others: Any) -> dict[str, Any]:
    return {"hostname": hostname, "role": "worker", "architecture": "amd64", **others}


REGISTRY = {"52:54:00:77:00:11": entry("cp-1", ip="10.0.0.11"), "52-54-00-77-00-12": entry("cp-2")}


def test_each_server_has_its_own_form() -> None:
    dnsmasq = reservations("dnsmasq", MACHINES)
    assert dnsmasq.splitlines()[1:] == [
        "52:54:00:77:00:11,10.0.0.11,cp-1",
        "52:54:00:77:00:12,cp-2",
        "52:54:00:77:00:13,10.0.0.13",
    ]
    assert inline("dnsmasq", dnsmasq).splitlines()[1] == "dhcp-host=52:54:00:77:00:12,cp-2"

    kea = inline("kea", reservations("kea", MACHINES))
    assert json.loads(kea) == [
        {"hw-address": "52:54:00:77:00:11", "ip-address": "10.0.0.11", "hostname": "cp-1"},
        {"hw-address": "52:54:00:77:00:12", "hostname": "cp-2"},
        {"hw-address": "52:54:00:77:00:13", "ip-address": "10.0.0.13"},
    ]
    assert json.loads(inline("kea", reservations("kea", []))) == []

    isc = reservations("isc", MACHINES)
    assert isc.count("host ") == 3
    assert 'option host-name "cp-2";' in isc
    assert "fixed-address 10.0.0.13;" in isc
    assert reservations("proxy", MACHINES) == reservations("none", MACHINES) == ""


class Server:
    """A DHCP server's files in a folder, a check that refuses the word `bad`, and a systemctl that notes."""

    def __init__(self, folder: Path) -> None:
        self.registry, self.outcome = folder / "registry.json", folder / "outcome.json"
        self.file, self.told, self.refuses = folder / "hosts", folder / "told", folder / "refuses"
        (folder / "server.conf").write_text("port=0\ninclude hosts\n")
        self.settings = ServerSettings(
            dhcp="dnsmasq",
            unit="pxe-dhcp-dnsmasq.service",
            plan={
                "network": "10.0.0.0/24", "address": "10.0.0.2", "router": "10.0.0.1",
                "first": "10.0.0.200", "last": "10.0.0.209",
            },
            config=str(folder / "server.conf"),
            reservations=str(self.file),
            include="include hosts\n",
            check=("sh", "-c", "! grep -q bad %s || { echo line 3 is bad >&2; exit 1; }"),
            check_in=str(folder),
            leases="",
            registry=str(self.registry),
            url="http://10.0.0.2",
            boot_url="http://127.0.0.1:8081",
        )  # fmt: skip
        program = folder / "bin" / "systemctl"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\necho "$@" >> {self.told}\ntest ! -e {self.refuses}\n')
        program.chmod(0o755)
        self.folder = folder
        self.follower = Follower(self.settings, self.outcome)

    def edit(self, registry: dict[str, Any] | str) -> None:
        """Save the registry and have it followed."""
        text = registry if isinstance(registry, str) else json.dumps(registry)
        self.registry.with_suffix(".new").write_text(text)
        self.registry.with_suffix(".new").rename(self.registry)
        assert self.follower.has_changed()
        self.follower.follow()
        assert not self.follower.has_changed()

    def tellings(self) -> int:
        """How often the server was told to read its file again."""
        return len(self.told.read_text().splitlines()) if self.told.exists() else 0

    @property
    def problems(self) -> tuple[str, ...]:
        outcome = known_outcome(self.outcome)
        assert outcome
        return outcome.problems


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    one = Server(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    yield one
    assert not list(tmp_path.glob(".check-*"))


def test_an_edit_is_taken_once(server: Server) -> None:
    server.edit(REGISTRY)
    assert server.file.read_text() == reservations("dnsmasq", MACHINES[:2])
    assert server.told.read_text() == "try-reload-or-restart pxe-dhcp-dnsmasq.service\n"
    assert server.problems == ()
    server.edit({**REGISTRY, "52:54:00:77:00:11": entry("cp-1", ip="10.0.0.11", labels={"a": "b"})})
    assert server.tellings() == 1, "what DHCP is not concerned with is no reason"
    server.edit({"52:54:00:77:00:12": entry("cp-2")})
    assert (server.tellings(), "cp-1" in server.file.read_text()) == (2, False)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ("{", "is no JSON"),
        ({"52:54:00:77:00:11": entry("cp-1", role="boss")}, "role"),
        ({"52:54:00:77:00:11": entry("cp-1", ip="10.9.0.11")}, "an address in 10.0.0.0/24"),
        ({"52:54:00:77:00:11": entry("cp-1", ip="10.0.0.205")}, "10.0.0.205 of cp-1"),
        ({"52:54:00:77:00:11": entry("cp-1", ip="10.0.0.1")}, "which is the router's"),
        ({"52:54:00:77:00:11": entry("cp-1", ip="10.0.0.2")}, "which is the server's"),
        ({"52:54:00:77:00:11": entry("bad-1")}, "sh refuses the reservations: line 3 is bad"),
    ],
)
def test_a_wrong_edit_changes_nothing(server: Server, edit: dict[str, Any] | str, said: str) -> None:
    server.edit(REGISTRY)
    before = server.file.read_text()
    server.edit(edit)
    assert (server.file.read_text(), server.tellings()) == (before, 1)
    assert said in " ".join(server.problems)
    assert "pxe_server_machines" not in " ".join(server.problems)
    server.edit(REGISTRY)
    assert (server.problems, server.tellings()) == ((), 1)


def test_no_registry_changes_nothing(server: Server) -> None:
    server.edit(REGISTRY)
    server.registry.unlink()
    assert server.follower.has_changed()
    server.follower.follow()
    assert "there is no registry" in server.problems[0]
    assert "cp-1" in server.file.read_text()


def test_a_server_that_does_not_take_them_has_those_from_before(server: Server) -> None:
    server.edit(REGISTRY)
    before = server.file.read_text()
    server.refuses.touch()
    server.edit({"52:54:00:77:00:12": entry("cp-2")})
    assert server.file.read_text() == before
    assert "journalctl -u pxe-dhcp-dnsmasq.service" in server.problems[0]
    server.refuses.unlink()
    server.follower.follow()  # as after half a minute
    assert "cp-1" not in server.file.read_text()


def test_what_was_written_and_not_told_is_told_at_the_next_start(server: Server) -> None:
    server.edit(REGISTRY)
    outcome = known_outcome(server.outcome)
    assert outcome
    server.file.write_text(reservations("dnsmasq", MACHINES[1:2]))
    server.edit({"52:54:00:77:00:12": entry("cp-2")})
    assert server.tellings() == 2, "the file was right already, the server had not heard of it"
    Follower(server.settings, server.outcome).follow()
    assert server.tellings() == 2


def test_a_configuration_that_does_not_include_them_is_told(server: Server) -> None:
    with pytest.raises(RefusedError, match="has no line include other"):
        take(replace(server.settings, include="include other\n"), "")


def test_the_program_by_its_settings(
    server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])  # it sets up its own
    file = server.folder / "server.json"
    words = ["--settings", str(file), "--outcome", str(server.outcome), "--once"]
    assert main(words) == ExitCode.LACKING
    file.write_text("{}")
    assert main(words) == ExitCode.LACKING
    assert "playbooks/pxe_server.yml" in capsys.readouterr().err
    file.write_text(json.dumps(asdict(server.settings)))
    assert main(words) == ExitCode.FAILED
    server.registry.write_text(json.dumps(REGISTRY))
    assert main(words) == ExitCode.DONE
    assert "cp-1" in server.file.read_text()
