# SPDX-License-Identifier: GPL-3.0-or-later
"""What machines boot and installers say, through the boot port of the whole application."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from ipaddress import ip_network
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubestead import installers
from kubestead.api import boot as boot_module
from kubestead.api.boot import BootApp
from kubestead.api.boot_files import BootFiles
from kubestead.api.booting import Booting, details_of
from kubestead.api.server import boot_app
from kubestead.installers import SettingsFile
from kubestead.store import Store, installations
from tests.unit.api_sample import CP, WORKER, Files, bearer, serving
from tests.unit.boot_sample import BASE, boot_folder, boot_settings

FIRMWARE = {"User-Agent": "iPXE/1.21.1+ (g4e456)"}
STRANGER = "52:54:00:77:00:99"
SCRIPT = f"/boot/{CP}.ipxe?platform=pcbios&buildarch=i386"


@dataclass
class Lab:
    """The API, its boot port, and what both are made of."""

    api: TestClient
    boot: TestClient
    store: Store
    files: Files
    folder: Path
    settings: Path

    def machine(self, mac: str = CP) -> dict[str, Any]:
        """The machine as people are shown it."""
        return cast("dict[str, Any]", self.api.get(f"/api/machines/{mac}").json())

    def ask(self, action: str, mac: str = CP, **body: Any) -> dict[str, Any]:
        """An operator asks for something."""
        answer = self.api.post(f"/api/machines/{mac}/{action}", json=body)
        assert answer.status_code == 200, answer.text
        return cast("dict[str, Any]", answer.json())

    def script(self, path: str = SCRIPT, **headers: str) -> str:
        """What a machine is told to boot."""
        answer = self.boot.get(path, headers={**FIRMWARE, **headers})
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        return answer.text

    def token(self) -> str:
        """The installer's token, from its answer."""
        answer = self.boot.get(f"/boot/answers/{CP}/install.env")
        assert answer.status_code == 200, answer.text
        assert answer.headers["cache-control"] == "no-store"
        found = re.search(r"^KS_TOKEN='(ksi_[A-Za-z0-9_-]{43})'$", answer.text, re.MULTILINE)
        assert found, answer.text
        return found[1]

    def report(self, token: str, state: str = "installing", **fields: str) -> tuple[int, str]:
        """An installer reports, with what a small wget can do."""
        answer = self.boot.get("/boot/report", params={"token": token, "state": state, **fields})
        return answer.status_code, answer.text


@contextmanager
def a_lab(folder: Path, **more: Any) -> Iterator[Lab]:
    files = Files.make(folder)
    boot_dir, shared = boot_folder(folder / "boot"), boot_settings(folder / "boot.json")
    with serving(files, boot_dir=boot_dir, boot_settings=shared, **more) as api:
        app = cast("FastAPI", api.app)
        port = TestClient(boot_app(app, boot_dir), base_url="http://10.77.0.10:8081")
        yield Lab(api, port, app.state.store, files, boot_dir, shared)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A computer that is busy with other tests is no broken store."""
    monkeypatch.setattr(boot_module, "_STORE_SECONDS", 60.0)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with a_lab(tmp_path) as lab:
        yield lab


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let time pass for the store."""
    passed = timedelta()

    def now() -> datetime:
        return datetime.now(timezone.utc) + passed

    def go_on(**more: float) -> None:
        nonlocal passed
        passed += timedelta(**more)

    monkeypatch.setattr(installations, "moment_now", now)
    monkeypatch.setattr("kubestead.api.booting.moment_now", now)
    return go_on


def attempts(lab: Lab) -> int:
    """How many attempts are counted."""
    return int(lab.machine()["install"]["attempts"])


# From power-on to the machine's own token


def test_an_installation_from_power_on_to_the_machines_own_token(lab: Lab) -> None:
    assert "boots its local disk: no installation is asked for" in lab.script()
    wanted = lab.ask("install")
    assert (wanted["state"], wanted["install"]["overwrite"]) == ("install_pending", False)
    text = lab.script()
    assert "cp-1 is being installed: an installation is asked for, attempt 1 of 3" in text
    assert f"kernel --name vmlinuz {BASE}/boot/deploy/amd64/vmlinuz" in text
    assert text.endswith("sanboot --no-describe --drive 0x80 || exit\n")
    assert "ksi_" not in text
    assert lab.machine()["install"]["attempts"] == 1
    assert "ksi_" not in lab.script(f"/boot/{CP}.grub")

    token = lab.token()
    assert lab.report(token, phase="disk", progress="50", message="writing") == (200, "ok\n")
    shown = lab.machine()
    assert (shown["state"], shown["phase"], shown["progress"]) == ("installing", "disk", 50)
    assert shown["install"]["overwrite"] is True
    posted = lab.boot.post("/boot/report", data={"token": token, "state": "installed", "phase": "done"})
    assert (posted.status_code, posted.text) == (200, "ok\n")
    assert "boots its local disk" in lab.script()

    own = "ksm_" + "x" * 43
    digest = hashlib.sha256(own.encode()).hexdigest()
    body = {"mac": CP, "digest": digest}
    done = lab.api.post("/api/exchange", json=body, headers=bearer(token))
    assert done.status_code == 200
    assert done.json() == {
        "token": None,
        "mac": CP,
        "install_id": lab.machine()["install"]["completed_id"],
        "state": "installed",
    }
    assert lab.api.get(f"/api/config/{CP}", headers=bearer(own)).json()["hostname"] == "cp-1"
    assert lab.api.get("/api/whoami", headers=bearer(own)).json()["mac"] == CP
    again = lab.api.post("/api/exchange", json=body, headers=bearer(token))
    assert again.status_code == 401
    assert lab.report(token, "installed")[0] == 403


def test_without_a_secret_of_its_own_a_machine_is_given_one(lab: Lab) -> None:
    lab.ask("install")
    lab.script()
    answer = lab.api.post("/api/exchange", json={"mac": CP}, headers=bearer(lab.token()))
    assert answer.headers["cache-control"] == "no-store"
    own = answer.json()["token"]
    assert lab.api.get("/api/whoami", headers=bearer(own)).json()["scope"] == "machine"
    assert lab.machine()["state"] == "installed"


def test_a_token_of_an_installation_opens_nothing_else(lab: Lab) -> None:
    lab.ask("install")
    lab.script()
    header = bearer(lab.token())
    for path in (f"/api/config/{CP}", "/api/machines", "/api/whoami", "/api/tokens"):
        answer = lab.api.get(path, headers=header)
        assert answer.status_code == 403
        assert "opens nothing but /api/exchange" in answer.json()["detail"]
    state = {"mac": CP, "state": "installed"}
    assert lab.api.post("/api/state", json=state, headers=header).status_code == 403
    assert lab.api.get("/api/tokens").json() == [], "it is nothing for people"
    other = lab.api.post("/api/exchange", json={"mac": WORKER}, headers=header)
    assert other.status_code == 401
    assert lab.machine()["state"] == "installing"


def test_an_exchange_that_is_none(lab: Lab) -> None:
    lab.ask("install")
    lab.script()
    token = lab.token()
    for body in ({}, {"mac": "x"}, {"mac": CP, "digest": "short"}, {"mac": CP, "more": 1}):
        assert lab.api.post("/api/exchange", json=body, headers=bearer(token)).status_code == 422
    guessed = lab.api.post("/api/exchange", json={"mac": CP}, headers=bearer("ksi_guessed"))
    assert guessed.status_code == 401
    assert guessed.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    lab.ask("reinstall", hostname="cp-1")
    assert lab.api.post("/api/exchange", json={"mac": CP}, headers=bearer(token)).status_code == 401


# Doubt


def test_people_look_and_nothing_is_counted(lab: Lab) -> None:
    lab.ask("install")
    before = lab.machine()
    for agent in ("curl/8.5.0", "Wget/1.21", "Mozilla/5.0 (X11; Linux x86_64)"):
        text = lab.script(**{"User-Agent": agent})
        assert text.startswith("#!ipxe\n# a preview: nothing is counted\n")
        assert "vmlinuz" in text
    for path in (SCRIPT, f"/boot/{CP}.grub"):
        assert lab.boot.head(path, headers=FIRMWARE).status_code == 200
    lab.script(f"/boot/{STRANGER}.ipxe", **{"User-Agent": "curl/8.5.0"})
    assert lab.machine() == before
    assert lab.store.machine(STRANGER) is None


def test_each_way_to_doubt_boots_the_local_disk_and_counts_nothing(lab: Lab) -> None:
    lab.ask("install")
    kernel = lab.folder / "deploy" / "amd64" / "vmlinuz"
    kernel.rename(kernel.with_name("away"))
    text = lab.script()
    assert "an installation is asked for, but the installing system for amd64 is not there" in text
    assert "deploy/amd64 lacks vmlinuz" in text
    kernel.with_name("away").rename(kernel)

    lab.settings.write_text("{}")
    assert "base is missing" in lab.script()
    lab.settings.unlink()
    text = lab.script()
    assert "there is no" in text
    assert "pxe_server.yml" in text
    boot_settings(lab.settings, method="installer")
    assert "boots its local disk: an installation is asked for, but" in lab.script()
    boot_settings(lab.settings)

    text = lab.script(f"/boot/{CP}.ipxe?platform=efi&buildarch=arm64")
    assert "the registry calls it amd64, and its firmware is for arm64" in text
    assert text.endswith("\nexit 1\n")
    assert attempts(lab) == 0
    assert "attempt 1 of 3" in lab.script(), "and all that was left as it was"


def test_an_installer_that_breaks_is_no_attempt(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.ask("install")

    def broken(*_arguments: object) -> str:
        raise RuntimeError("a template is broken")

    monkeypatch.setattr(installers, "boot_script", broken)
    assert "boots its local disk: the state store gives no answer" in lab.script()
    assert attempts(lab) == 0


def test_a_store_that_is_locked_boots_the_local_disk_and_counts_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boot_module, "_STORE_SECONDS", 0.3)
    monkeypatch.setattr("kubestead.store.database.BUSY_TIMEOUT_SECONDS", 2.0)
    lab.ask("install")
    with closing(sqlite3.connect(lab.files.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert "boots its local disk: the state store gives no answer" in lab.script()
        other.execute("ROLLBACK")
    lab.ask("lock")  # a writer after the one that nobody waits for any more
    assert attempts(lab) == 0


def test_a_store_that_hangs_keeps_nobody_else_waiting(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot_module, "_STORE_SECONDS", 0.1)
    release = threading.Event()
    app = cast("FastAPI", lab.api.app)

    class Hanging(Booting):
        def script(self, *_arguments: Any, **_options: Any) -> Any:
            release.wait(30)
            raise OSError

    boots = Hanging(app.state.registry, lab.store, SettingsFile(lab.settings), lab.folder)
    port = TestClient(BootApp(BootFiles(lab.folder), boots, 1000))
    for _ in range(4):
        assert "the state store gives no answer" in port.get(SCRIPT, headers=FIRMWARE).text
    assert port.get("/deploy/amd64/vmlinuz").text == "vmlinuz"
    release.set()


def test_a_restart_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    with a_lab(tmp_path) as lab:
        lab.ask("install")
        lab.script()
        token = lab.token()
        lab.report(token, phase="disk")
    files = Files(tmp_path / "token", tmp_path / "machines.db", tmp_path / "registry.json")
    more = {"boot_dir": tmp_path / "boot", "boot_settings": tmp_path / "boot.json"}
    with serving(files, **more) as api:
        app = cast("FastAPI", api.app)
        boot = TestClient(boot_app(app, tmp_path / "boot"), base_url="http://10.77.0.10")
        again = Lab(api, boot, app.state.store, files, tmp_path / "boot", tmp_path / "boot.json")
        assert "attempt 1 of 3" in again.script(), "within ten seconds it is the same attempt"
        assert again.report(token, "installed") == (200, "ok\n")


def test_three_attempts_then_failed_with_the_last_words(lab: Lab, later: Any) -> None:
    lab.ask("install")
    for attempt in (1, 2, 3):
        assert f"attempt {attempt} of 3" in lab.script()
        assert lab.report(lab.token(), message=f"words of {attempt}")[0] == 200
        later(minutes=5)
    woken = []
    app = cast("FastAPI", lab.api.app)
    boots = Booting(app.state.registry, lab.store, SettingsFile(lab.settings), lab.folder)
    port = TestClient(BootApp(BootFiles(lab.folder), boots, 1000, lambda: woken.append(1)))
    for _ in range(2):
        text = port.get(SCRIPT, headers=FIRMWARE).text
        assert "boots its local disk: 3 attempts to install it have failed" in text
    assert woken, "those who watch are told"
    shown = lab.machine()
    assert shown["state"] == "failed"
    assert shown["error"] == "3 attempts to install it have failed; the last said: words of 3"


# Answers


def test_answers_are_for_a_machine_that_was_given_the_installer(lab: Lab) -> None:
    path = f"/boot/answers/{CP}/install.env"

    def refused(path: str = path) -> str:
        answer = lab.boot.get(path)
        assert answer.status_code == 404
        return answer.text

    assert refused() == f"there are no answers for {CP}: no installation of it is asked for\n"
    assert "not in the registry" in refused(f"/boot/answers/{STRANGER}/install.env")
    lab.ask("install")
    assert "no attempt to install it is under way: it is install_pending" in refused()
    lab.script()
    assert "has no preseed.cfg, only install.env" in refused(f"/boot/answers/{CP}/preseed.cfg")
    assert "no rescue of it is under way" in refused(f"/boot/answers/{CP}/rescue.env")
    assert lab.boot.head(path).status_code == 200
    assert lab.store.tokens() == [], "a look at it makes no token"
    token = lab.token()
    assert token != lab.token()
    lab.ask("lock")
    assert "it is locked" in refused()
    lab.ask("unlock")
    lab.report(token, "failed", message="the disk is too small")
    assert "it is failed" in refused()
    assert lab.machine()["error"] == "the disk is too small"


def test_an_answer_without_a_token_in_it_makes_none(lab: Lab) -> None:
    """Debian's installer keeps its preseed on the disk: the token is in another of its answers."""
    lab.ask("install")
    lab.script()
    boot_settings(lab.settings, method="installer", mirrors={"debian": "http://10.77.0.1/debian"})
    preseed = lab.boot.get(f"/boot/answers/{CP}/preseed.cfg")
    assert preseed.status_code == 200, preseed.text
    assert lab.store.tokens() == []
    script = lab.boot.get(f"/boot/answers/{CP}/install.sh")
    assert re.search(r"\bksi_[A-Za-z0-9_-]{43}\b", script.text)
    assert len(lab.store.tokens()) == 1


def test_settings_that_break_meanwhile_are_told_to_the_installer(lab: Lab) -> None:
    lab.ask("install")
    lab.script()
    lab.settings.write_text("{}")
    answer = lab.boot.get(f"/boot/answers/{CP}/install.env")
    assert answer.status_code == 503
    assert answer.text.startswith("try again: ")


# Reports


def test_a_report_that_says_nothing(lab: Lab) -> None:
    lab.ask("install")
    lab.script()
    token = lab.token()
    for state in ("", "ready", "retired", "provisioning"):
        status, text = lab.report(token, state)
        assert (status, "expected one of installing, installed, failed" in text) == (400, True)
    assert lab.report("", "installing")[0] == 403
    assert lab.report("ksi_guessed", "installing")[0] == 403
    assert lab.boot.put("/boot/report").status_code == 405
    assert lab.boot.get("/boot/log").status_code == 405
    assert lab.boot.post("/boot/report", content=b"x" * 70_000).status_code == 413


@pytest.mark.parametrize(
    ("given", "found"),
    [("40", 40), ("400", 100), ("", None), ("-5", None), ("x", None), ("4 %", None), ("9" * 5000, None)],
)
def test_the_progress_of_a_report(lab: Lab, given: str, found: int | None) -> None:
    lab.ask("install")
    lab.script()
    token = lab.token()
    assert (
        lab.boot.post(
            "/boot/report", data={"token": token, "state": "installing", "progress": given}
        ).status_code
        == 200
    )
    assert lab.machine()["progress"] == found


def test_a_message_is_kept_as_far_as_it_can_be(lab: Lab) -> None:
    lab.ask("install")
    lab.script()
    data = {"token": lab.token(), "state": "installing", "message": "a\0" + "ü" * 9000, "phase": "p" * 500}
    assert lab.boot.post("/boot/report", data=data).status_code == 200
    shown = lab.machine()
    assert shown["message"].startswith("a\ufffdüü")
    assert (len(shown["message"]), len(shown["phase"])) == (4096, 128)


def test_the_end_of_the_log_is_kept(lab: Lab) -> None:
    lab.ask("install")
    lab.script()
    token = lab.token()
    path = f"/boot/log?token={token}"
    assert lab.boot.post(path, content=b"line 1\nline 2 \xff\n").text == "ok\n"
    kept = lab.api.get(f"/api/data/{CP}/install_log").json()["value"]
    assert (kept["attempt"], kept["text"]) == (1, "line 1\nline 2 \ufffd\n")
    assert lab.boot.post(path, content=b"\0" * 65_536).status_code == 200
    assert lab.boot.post(path, content=b"x" * 65_537).status_code == 413
    assert lab.boot.post("/boot/log?token=ksi_x", content=b"x").status_code == 403


def test_no_token_is_in_any_log(lab: Lab, caplog: pytest.LogCaptureFixture, later: Any) -> None:
    caplog.set_level(logging.DEBUG)
    lab.ask("install")
    lab.script()
    token = lab.token()
    lab.report(token, message="hello")
    lab.boot.post(f"/boot/log?token={token}", content=b"x")
    later(minutes=1)
    lab.script()
    lab.report(token)
    lab.boot.post(f"/boot/log?token={token}", content=b"x" * 70_000)
    lab.api.post("/api/exchange", json={"mac": CP}, headers=bearer(token))
    assert "hello" in caplog.text
    # The test's own client logs what it asks for.
    ours = [record for record in caplog.records if not record.name.startswith("httpx")]
    assert ours
    for record in ours:
        assert token not in record.getMessage() + json.dumps(record.__dict__, default=str)


def test_who_asks_too_often_is_told(tmp_path: Path) -> None:
    with a_lab(tmp_path, rate=2) as lab:
        lab.ask("install")
        statuses = [lab.boot.get(SCRIPT, headers=FIRMWARE).status_code for _ in range(8)]
        assert 429 in statuses
        assert lab.boot.get("/deploy/amd64/vmlinuz").status_code == 200, "files are for all"


@pytest.mark.parametrize(("trusted", "address"), [(True, "10.77.0.50"), (False, "127.0.0.1")])
def test_the_installers_address_is_what_a_proxy_of_ours_says(
    tmp_path: Path, trusted: bool, address: str
) -> None:
    with a_lab(tmp_path, trusted_proxies=(ip_network("127.0.0.0/8"),) if trusted else ()) as lab:
        lab.ask("install")
        lab.script()
        port = TestClient(boot_app(cast("FastAPI", lab.api.app), lab.folder), client=("127.0.0.1", 50000))
        report = {"token": lab.token(), "state": "installing"}
        port.get("/boot/report", params=report, headers={"X-Forwarded-For": "10.77.0.50"})
        assert lab.machine()["address"] == address


# Strangers


def test_a_stranger_is_discovered_with_what_its_firmware_says(lab: Lab) -> None:
    query = (
        "platform=efi&buildarch=x86_64&uuid=4C4C4544-0042-3510-8052-B4C04F4A4E32"
        "&manufacturer=Dell%20Inc.&product=OptiPlex%207010&serial=8RTZNW1"
    )
    text = lab.script(f"/boot/{STRANGER}.ipxe?{query}")
    assert "menu Kubestead: 52:54:00:77:00:99 is not in the registry" in text
    assert lab.machine(STRANGER)["state"] == "discovered"
    assert lab.api.get(f"/api/data/{STRANGER}/firmware").json()["value"] == {
        "platform": "efi",
        "buildarch": "x86_64",
        "uuid": "4c4c4544-0042-3510-8052-b4c04f4a4e32",
        "manufacturer": "Dell Inc.",
        "product": "OptiPlex 7010",
        "serial": "8RTZNW1",
    }


@given(query=st.dictionaries(st.sampled_from(["platform", "buildarch", "uuid", "serial"]), st.text()))
def test_what_firmware_says_is_bounded(query: dict[str, str]) -> None:
    for name, value in details_of(query).items():
        assert value
        assert value.isprintable()
        assert len(value) <= 128
        if name == "platform":
            assert value in ("pcbios", "efi")
        if name == "buildarch":
            assert re.fullmatch(r"[a-z0-9_]+", value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(name=st.text(max_size=30))
def test_other_paths_are_no_machines(lab: Lab, name: str) -> None:
    for path in (f"/boot/{quote(name, '')}.ipxe", f"/boot/answers/{quote(name, '')}/install.env"):
        assert lab.boot.get(path, headers=FIRMWARE).status_code == 404


def test_a_mac_that_is_none(lab: Lab) -> None:
    assert lab.boot.get("/boot/zz:54:00:77:00:99.ipxe").status_code == 404
    assert lab.boot.get("/boot/answers/zz:54:00:77:00:99/install.env").status_code == 404
    for name in (CP.upper(), "52-54-00-77-00-11", "5254.0077.0011", "525400770011"):
        assert "cp-1 boots its local disk" in lab.script(f"/boot/{name}.ipxe")


# Rescue and local boot


def test_a_rescue_is_one_boot(lab: Lab, later: Any) -> None:
    asked = lab.ask("rescue")
    assert (asked["state"], asked["rescue"]["from_state"]) == ("rescue", "approved")
    assert lab.boot.get(f"/boot/answers/{CP}/rescue.env").status_code == 404
    text = lab.script()
    assert "boots its rescue system" in text
    assert "kubestead=rescue" in text
    answer = lab.boot.get(f"/boot/answers/{CP}/rescue.env")
    assert answer.status_code == 200
    assert "KS_TOKEN" not in answer.text
    later(minutes=1)
    assert "boots its local disk: its rescue has ended" in lab.script()
    assert lab.machine()["state"] == "approved"
    assert lab.boot.get(f"/boot/answers/{CP}/rescue.env").status_code == 404


def test_a_rescue_system_that_is_not_there_is_not_used_up(lab: Lab) -> None:
    lab.ask("rescue")
    manifest = lab.folder / "rescue" / "amd64" / "image.json"
    manifest.rename(manifest.with_name("away"))
    assert "a rescue is asked for, but there is no rescue system for amd64" in lab.script()
    manifest.with_name("away").rename(manifest)
    assert "boots its rescue system" in lab.script()


def test_the_way_to_the_local_disk_is_set(lab: Lab) -> None:
    boot_settings(lab.settings, local_boot={"pcbios": "exit", "efi": "sanboot"})
    assert lab.script(f"/boot/{CP}.ipxe?platform=pcbios").endswith("\nexit\n")
    assert lab.script(f"/boot/{CP}.ipxe?platform=efi").endswith(
        "\nsanboot --no-describe --drive 0x80 || exit 1\n"
    )


# What an operator is told


def test_actions_are_refused_in_words(lab: Lab) -> None:
    def refused(action: str, mac: str = CP, **body: Any) -> tuple[int, str]:
        answer = lab.api.post(f"/api/machines/{mac}/{action}", json=body)
        return answer.status_code, answer.json()["detail"]

    for action in ("install", "rescue"):
        status, text = refused(action, STRANGER)
        assert (status, "is not in the registry" in text) == (404, True)
    lab.ask("lock")
    assert refused("install") == (
        409,
        "the machine is locked and cannot go to install_pending; unlock it first",
    )
    lab.ask("rescue")
    lab.ask("unlock")
    lab.ask("install")
    lab.script()
    lab.report(lab.token(), "installed")
    status, text = refused("install")
    assert status == 409
    assert "has a system already (it is installed)" in text
    assert refused("reinstall", hostname="worker-1")[0] == 409
    assert lab.ask("reinstall", hostname="cp-1")["install"]["overwrite"] is True


def test_the_system_before_does_not_speak_for_the_new_one(lab: Lab) -> None:
    lab.ask("install")
    lab.script()
    own = lab.api.post("/api/exchange", json={"mac": CP}, headers=bearer(lab.token())).json()["token"]
    lab.ask("reinstall", hostname="cp-1")
    lab.script()
    for state in ("installed", "installing"):
        answer = lab.api.post("/api/state", json={"mac": CP, "state": state}, headers=bearer(own))
        assert answer.status_code == 409
        assert "system before it reports does not count" in answer.json()["detail"]
    assert lab.machine()["state"] == "installing"
