# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `kubestead`, as a person or a script runs it, on a real State API."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from kubestead.cli import durations, installations, session, views
from kubestead.cli.session import Session
from tests.unit.api_sample import CP, REGISTRY, WORKER, Files, Running, free_port, running
from tests.unit.cli_sample import COMMAND, kubestead

NEW, STRANGER = "52:54:00:77:00:31", "52:54:00:77:00:99"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files.make(tmp_path_factory.mktemp("api"))


@pytest.fixture(scope="module")
def running_api(files: Files) -> Iterator[Running]:
    with running(files) as program:
        client = program.client()
        client.report_state(CP, "provisioning", phase="prepare", progress=40, message="\x1b[31mpackages [b]")
        client.report_state(
            CP, "failed", phase="prepare", progress=40, error="no space [left] on /var\n\x9bend"
        )
        client.report_state(STRANGER, "discovered")
        yield program


@pytest.fixture
def api(running_api: Running, files: Files, monkeypatch: pytest.MonkeyPatch) -> Running:
    """The API, and an environment that names it."""
    files.registry.write_text(json.dumps(REGISTRY))
    monkeypatch.setenv("KUBESTEAD_API_URL", running_api.url)
    monkeypatch.setenv("KUBESTEAD_API_TOKEN_FILE", str(files.token))
    return running_api


def test_machines_are_listed(api: Running) -> None:
    done = kubestead("machines", "list")
    assert done.code == 0
    heading, first, second, *more = done.out.splitlines()
    assert heading.split()[:3] == ["Hostname", "Role", "State"]
    assert first.split()[:5] == ["cp-1", "control-plane", "failed", "prepare", "40"]
    assert first.endswith("no space [left] on /var \N{REPLACEMENT CHARACTER}end")
    assert second.split()[:4] == ["worker-1", "worker", "not", "reported"]
    assert [STRANGER, "-", "discovered"] in [line.split()[:3] for line in more if STRANGER in line]
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", done.out), "nothing that a terminal would obey"


@pytest.mark.parametrize("words", [("machines", "list"), ("machines", "status"), ("monitor", "--once")])
def test_json_is_what_the_api_says(api: Running, words: tuple[str, ...]) -> None:
    done = kubestead(*words, "--json")
    assert done.json == api.client().machines()
    assert not re.search("[\x7f-\x9f]", done.out)


@pytest.mark.parametrize("name", [CP, "52-54-00-77-00-11", "5254.0077.0011", "cp-1", "CP-1"])
def test_one_machine_by_any_name(api: Running, name: str) -> None:
    done = kubestead("machines", "status", name)
    assert done.code == 0
    facts = dict(
        line.split(None, 1) for line in done.out.split("\n\n")[0].splitlines() if " " in line.strip()
    )
    assert facts["hostname"] == "cp-1"
    assert facts["state"].startswith("failed since ")
    assert facts["error"] == "no space [left] on /var"
    assert "provisioning → failed" in done.out
    assert "worker-1" not in done.out
    assert list(kubestead("machines", "status", name, "--json").json) == [CP]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("nobody", "There are: cp-1, worker-1."),
        ("cp1", "Did you mean cp-1?"),
        ("worker", "Did you mean worker-1?"),
        ("52:54:00:77:00:12", f"{CP}"),
    ],
)
def test_a_machine_that_is_not_there(api: Running, name: str, hint: str) -> None:
    done = kubestead("machines", "status", name)
    assert (done.code, done.out) == (1, "")
    assert f"there is no machine {name}" in done.err
    assert hint in done.err
    done = kubestead("machines", "status", name, "--json")
    assert (done.out, done.problem["exit_code"], hint in done.problem["advice"]) == ("", 1, True)


def test_status_sums_up(api: Running, files: Files) -> None:
    done = kubestead("status")
    assert done.code == 0
    assert f"at {api.url}: ok, sqlite\nregistry {files.registry}: ok\n" in done.out
    numbers = views.counts(api.client().machines().values())
    assert "  ".join(f"{number} {state}" for state, number in numbers.items()) in done.out
    assert "no space [left] on /var" in done.out
    found = kubestead("status", "--json").json
    assert (found["states"], numbers["failed"], numbers["discovered"]) == (numbers, 1, 1)
    assert list(found["failed"]) == [CP]
    assert (found["api"]["url"], found["registry"]["condition"]) == (api.url, "ok")


def test_status_tells_what_is_wrong_with_the_registry(api: Running, files: Files) -> None:
    files.registry.write_text('{"52:54:00:77:00:11": {"hostname": "cp_1"}}')
    done = kubestead("status")
    assert "invalid (the last valid one is in force)" in done.out
    assert 'hostname is "cp_1"' in done.out
    server = kubestead("status", "--server")
    assert "✘ registry" in server.out
    assert "✔ State API" in server.out
    checks = {
        check["name"]: check["ok"] for check in kubestead("status", "--server", "--json").json["server"]
    }
    assert (checks["State API"], checks["registry"], checks["store"]) == (True, False, True)
    refused = kubestead("machines", "add", NEW, "new-1", "worker", "amd64")
    assert (refused.code, "mend it first" in refused.err, 'hostname is "cp_1"' in refused.err) == (
        1,
        True,
        True,
    )


def test_the_registry_behind_the_api_is_edited(api: Running, files: Files) -> None:
    words = ("52-54-00-77-00-31", "new-1", "worker", "x86_64", "gpu", "--ip", "10.77.0.31")
    assert kubestead("machines", "add", *words).out == f"new-1 ({NEW}): added\n"
    assert kubestead("machines", "add", *words).out == f"new-1 ({NEW}): unchanged\n"
    assert json.loads(files.registry.read_text()) == {
        **REGISTRY,
        NEW: {
            "hostname": "new-1",
            "role": "worker",
            "architecture": "x86_64",
            "features": ["gpu"],
            "ip": "10.77.0.31",
        },
    }
    assert kubestead("machines", "config", "new-1").json["architecture"] == "amd64"
    refused = kubestead("machines", "add", NEW, "new-2", "worker", "amd64")
    assert (refused.code, "is in the registry already, as new-1" in refused.err) == (1, True)
    wrong = kubestead("machines", "add", NEW, "cp-1", "wrker", "amd64", "--replace")
    assert (wrong.code, 'role is "wrker"' in wrong.err, f"{CP} has the same" in wrong.err) == (2, True, True)
    assert kubestead("machines", "remove", "new-1", "--json").json["removed"][NEW]["hostname"] == "new-1"
    assert json.loads(files.registry.read_text()) == REGISTRY
    assert kubestead("machines", "remove", "new-1").code == 1
    told = [event["message"] for event in kubestead("events", "--json").json if event["kind"] == "registry"]
    assert told[-2:] == ["added new-1", "removed new-1"]


def test_entries_are_imported_and_exported_through_the_api(
    api: Running, files: Files, tmp_path: Path
) -> None:
    table = tmp_path / "more.csv"
    table.write_text(
        f"mac,hostname,role,architecture\n{NEW},new-1,worker,amd64\n{WORKER},worker-1,compute,arm64\n"
    )
    done = kubestead("machines", "import", table, "--json")
    assert done.json == {
        "added": [NEW],
        "changed": [WORKER],
        "unchanged": [],
        "removed": [],
        "dry_run": False,
    }
    assert list(json.loads(kubestead("machines", "export").out)) == [CP, WORKER, NEW]
    table.write_text(f"mac,hostname,role,architecture\n{STRANGER},new-1,worker,amd64\n")
    assert kubestead("machines", "import", table).code == 2
    assert list(json.loads(files.registry.read_text())) == [CP, WORKER, NEW]


def test_what_machines_are_told(api: Running, files: Files) -> None:
    """Two machines of its own: what other tests look at stays as it is."""
    known, found = "52:54:00:77:00:41", "52:54:00:77:00:42"
    entry = {"hostname": "told-1", "role": "worker", "architecture": "amd64"}
    files.registry.write_text(json.dumps({**REGISTRY, known: entry}))
    api.client().report_state(found, "discovered")
    assert kubestead("machines", "approve", found).out == f"{found}: approved (approved)\n"
    assert kubestead("machines", "lock", "told-1").out == f"told-1 ({known}): locked (not reported)\n"
    refused = kubestead("machines", "reinstall", "told-1", "--yes")
    assert (refused.code, "unlock it first" in refused.err) == (1, True)
    assert kubestead("machines", "unlock", "told-1").out == f"told-1 ({known}): not locked (not reported)\n"
    done = kubestead("machines", "reinstall", "TOLD-1", "--yes", "--json")
    assert (done.json[known]["state"], done.json[known]["install"]["attempts"]) == ("install_pending", 0)
    both = kubestead("machines", "retire", found, "told-1", "--json")
    assert [view["state"] for view in both.json.values()] == ["retired", "retired"]
    refused = kubestead("machines", "reinstall", "told-1", "--yes", "--json")
    assert (refused.code, refused.json, "only to approved" in refused.problem["error"]) == (1, {}, True)
    some = kubestead("machines", "approve", "told-1", "nobody")
    assert (some.code, "there is no machine nobody" in some.err) == (1, True)
    assert api.client().machine(known)["state"] == "retired", "a name that is none stops it all"
    files.registry.write_text(json.dumps({**REGISTRY, known: {**entry, "locked": True}}))
    assert "still locked, by `locked` in its registry entry" in kubestead("machines", "unlock", "told-1").out


def test_a_reinstall_is_asked_for_by_name_and_confirmed(api: Running) -> None:
    done = kubestead("machines", "reinstall", CP, "--yes")
    assert (done.code, "kubestead machines reinstall cp-1" in done.err) == (2, True)
    done = kubestead("machines", "reinstall", "cp-1")
    assert (done.code, "--yes" in done.err) == (2, True)
    assert api.client().machine(CP)["state"] == "failed"


def test_a_machine_that_changed_while_a_person_thought_is_not_erased(
    api: Running, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    mac = "52:54:00:77:00:51"
    entry = {"hostname": "slow-1", "role": "worker", "architecture": "amd64"}
    files.registry.write_text(json.dumps({**REGISTRY, mac: entry}))
    api.client().report_state(mac, "provisioning")

    def thinks(question: str, yes: bool) -> None:
        assert "Install slow-1" in question
        api.client().report_state(mac, "ready")

    monkeypatch.setattr(installations, "confirm", thinks)
    done = kubestead("machines", "reinstall", "slow-1")
    assert (done.code, "kubestead machines status slow-1" in done.err) == (1, True)
    assert api.client().machine(mac)["state"] == "ready"


def test_a_new_machine_is_installed_and_any_machine_is_rescued(api: Running, files: Files) -> None:
    mac = "52:54:00:77:00:61"
    entry = {"hostname": "fresh-1", "role": "worker", "architecture": "amd64"}
    files.registry.write_text(json.dumps({**REGISTRY, mac: entry}))
    for verb in ("install", "rescue"):
        asked = kubestead("machines", verb, "fresh-1")
        assert (asked.code, "--yes" in asked.err) == (2, True)
    assert api.client().machine(mac)["state"] is None
    done = kubestead("machines", "install", "fresh-1", "--yes")
    assert done.out == (
        f"fresh-1 ({mac}): will be installed at its next boot, if its disk is empty (install_pending)\n"
    )
    status = kubestead("machines", "status", "fresh-1").out
    assert re.search(r"install +wanted \([0-9a-f]{32}\); only an empty disk is written\n", status)
    done = kubestead("machines", "rescue", "fresh-1", "--yes")
    assert done.out == f"fresh-1 ({mac}): will boot the rescue system once (rescue)\n"
    status = kubestead("machines", "status", "fresh-1").out
    assert re.search(r"rescue +waits for its next boot, then it is install_pending again\n", status)
    api.client().report_state(mac, "installed")
    refused = kubestead("machines", "install", "fresh-1", "--yes")
    assert (refused.code, "ask for `reinstall`" in refused.err) == (1, True)


def test_what_an_installation_that_has_failed_said_last(api: Running, files: Files) -> None:
    mac = "52:54:00:77:00:62"
    entry = {"hostname": "broken-1", "role": "worker", "architecture": "amd64"}
    files.registry.write_text(json.dumps({**REGISTRY, mac: entry}))
    kubestead("machines", "reinstall", "broken-1", "--yes")
    api.client().report_state(mac, "failed", error="no disk")
    assert "install log" not in kubestead("machines", "status", "broken-1").out
    text = "\n".join(f"line {each}\033[2J" for each in range(20))
    api.client().put_data(mac, "install_log", {"install_id": "x", "attempt": 2, "text": text})
    status = kubestead("machines", "status", "broken-1").out
    assert re.search(r"install log +attempt 2, \d+ s ago\n +line 10", status)
    assert "line 19" in status
    assert "line 9\n" not in status
    assert "\033" not in status
    assert re.search(r"install +wanted \(\w+\); its disk is overwritten\n", status)


def test_events_are_shown_newest_last(api: Running) -> None:
    done = kubestead("events", "cp-1", "-n", "2")
    first, last = done.out.splitlines()
    assert "provisioning" in first
    assert "provisioning → failed  prepare  40 %  no space [left] on /var" in last
    assert done.out == kubestead("machines", "events", "cp-1", "-n", "2").out
    assert [event["mac"] for event in kubestead("events", "cp-1", "--json").json] == [CP, CP]


def test_tokens_are_made_used_and_revoked(api: Running, tmp_path: Path) -> None:
    done = kubestead("token", "create", "laptop", "--scope", "read", "--expires", "30d")
    assert re.fullmatch(r"ksr_[-\w]{43}\n", done.out), "standard output holds the token and nothing else"
    assert "scope read" in done.err
    reader = tmp_path / "reader"
    reader.write_text(done.out)
    assert kubestead("machines", "list", "--token-file", reader).code == 0
    refused = kubestead("machines", "approve", CP, "--token-file", reader)
    assert (refused.code, "403" in refused.err, "operator" in refused.err) == (1, True, True)
    for words in (("remove", "cp-1"), ("export",), ("lock", "cp-1")):
        assert kubestead("machines", *words, "--token-file", reader).code == 1

    file = tmp_path / "machine.token"
    done = kubestead("token", "create", "m", "--scope", "machine", "--mac", "worker-1", "-o", file, "--json")
    assert (done.json["mac"], done.json["file"], "token" in done.json) == (WORKER, str(file), False)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().startswith("ksm_")
    assert kubestead("token", "create", "m", "--scope", "read", "-o", file).code == 1

    assert "laptop  read" in kubestead("token", "list").out
    assert kubestead("token", "revoke", "laptop").code == 0
    assert kubestead("token", "revoke", "laptop").code == 1
    refused = kubestead("machines", "list", "--token-file", reader)
    assert (refused.code, "401" in refused.err, str(reader) in refused.err) == (1, True, True)
    assert done.json["id"] in [token["id"] for token in kubestead("token", "list", "--json").json]


@pytest.mark.parametrize(
    "words",
    [
        ("--scope", "machine"),
        ("--scope", "read", "--mac", CP),
        ("--scope", "read", "--expires", "soon"),
        ("--scope", "root"),
        (),
    ],
)
def test_tokens_that_make_no_sense(api: Running, words: tuple[str, ...]) -> None:
    assert kubestead("token", "create", "senseless", *words).code == 2
    assert "senseless" not in [token["name"] for token in api.client().tokens()]


def test_claims_are_shown_and_passed_on_by_force(api: Running) -> None:
    api.client().take_claim("lab", "cp-1")
    assert "lab   cp-1    claimed  1" in kubestead("claims", "list").out
    asked = kubestead("claims", "force", "lab", "worker-1")
    assert (asked.code, api.client().claim("lab")["holder"]) == (2, "cp-1")
    done = kubestead("claims", "force", "lab", "worker-1", "--yes", "--json")
    assert (done.json["holder"], done.json["epoch"]) == ("worker-1", 2)
    assert kubestead("claims", "show", "lab", "--json").json == api.client().claim("lab")
    assert "holder       worker-1" in kubestead("claims", "show", "lab").out
    assert kubestead("claims", "show", "nothing").code == 1


def test_options_win_over_the_environment(
    api: Running, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBESTEAD_API_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("KUBESTEAD_API_TOKEN_FILE", "/nowhere")
    assert kubestead("machines", "list", "--api-url", api.url, "--token-file", files.token).code == 0


def test_an_api_that_is_down(api: Running) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = kubestead("status", "--api-url", url)
    assert (done.code, done.out) == (3, "")
    assert url in done.err
    assert "systemctl status machine-state-api" in done.err
    assert kubestead("status", "--api-url", url, "--json").problem["exit_code"] == 3


def test_a_wrong_token(api: Running, tmp_path: Path) -> None:
    wrong = tmp_path / "token"
    wrong.write_text("another-token-altogether\n")
    done = kubestead("machines", "list", "--token-file", wrong)
    assert done.code == 1
    assert "401" in done.err
    assert str(wrong) in done.err
    assert "another-token" not in done.err


def test_what_is_missing_or_wrong(api: Running, tmp_path: Path) -> None:
    done = kubestead("status", "--token-file", "/nowhere/token")
    assert (done.code, "/nowhere/token" in done.err) == (3, True)
    assert kubestead("status", "--api-url", "nonsense").code == 3
    assert kubestead("status", "--api-url", "https://127.0.0.1:1", "--ca-file", "/nowhere").code == 3
    assert kubestead("machines", "lits").code == 2
    assert kubestead("machines").code == 2
    assert kubestead("monitor", "--json").code == 2
    assert kubestead("monitor").code == 2


def test_this_hosts_own_token_goes_to_this_host_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token, authority = tmp_path / "token", tmp_path / "ca.crt"
    monkeypatch.setattr(session, "HOST_TOKEN", token)
    monkeypatch.setattr(session, "HOST_CA", authority)
    assert Session().url == "http://127.0.0.1:8080"
    authority.touch()
    found = Session()
    assert (found.url, found.token_file, found.ca_file) == (
        "https://127.0.0.1:8080",
        str(token),
        str(authority),
    )
    elsewhere = Session("https://10.0.0.10:8080")
    assert (elsewhere.token_file, elsewhere.ca_file) == ("", None)
    done = kubestead("status", "--api-url", "https://10.0.0.10:8080")
    assert (done.code, "no file with a token" in done.err) == (3, True)


def test_a_reader_that_has_seen_enough(api: Running) -> None:
    command = " ".join(["set -o pipefail;", sys.executable, "-c", f"'{COMMAND[2]}'", "machines list | true"])
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("machines status c", ["cp-1"]),
        ("machines status 52-54-00-77-00-11", []),
        (f"machines status {CP[:-1]}", [CP]),
        ("machines add m h control", ["control-plane"]),
        (
            "machines add m h worker amd64 gpu ",
            ["compute", "inference", "kubernetes", "monitoring", "nfs", "storage"],
        ),
        ("machines re", ["reinstall", "remove", "rescue", "retire"]),
        ("machines add --os debian", ["debian-12", "debian-13"]),
    ],
)
def test_words_are_completed(
    api: Running, words: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ["kubestead", *words.split(" ")]
    monkeypatch.setenv("_KUBESTEAD_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "\n".join(line))
    monkeypatch.setenv("COMP_CWORD", str(len(line) - 1))
    done = kubestead()
    assert (done.code, sorted(done.out.split())) == (0, sorted(expected))


def test_the_version_is_told() -> None:
    assert re.fullmatch(r"kubestead [0-9]+\.[0-9]+\.[0-9]+\n", kubestead("--version").out)


def test_a_full_disk_is_told(api: Running) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, "machines", "export"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (3, "kubestead: the output: No space left on device.\n")


def test_a_terminal_of_old_is_no_reason_to_fail(api: Running) -> None:
    done = subprocess.run(
        [*COMMAND, "machines", "status", "cp-1"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "provisioning ? failed" in done.stdout


def test_ages_are_said_as_a_person_would() -> None:
    now = datetime(2026, 1, 2, tzinfo=timezone.utc)
    for seconds, words in (
        (-3, "0 s ago"),
        (0.4, "0 s ago"),
        (59, "59 s ago"),
        (61, "1 min ago"),
        (7300, "2 h ago"),
        (90000, "1 d ago"),
    ):
        moment = (now - timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
        assert views.age(moment, now) == words
    assert views.age(None) == "never"


def test_lengths_of_time_are_read() -> None:
    assert [durations.seconds(text) for text in ("90s", "15m", "15min", "12H", " 30d", "2w")] == [
        90,
        900,
        900,
        43200,
        2592000,
        1209600,
    ]
    for text in ("", "0d", "30", "d", "-1d", "1.5h", "1y", "1d1h", "\u0661d"):
        with pytest.raises(ValueError, match="is no length of time"):
            durations.seconds(text)


def test_help_is_light() -> None:
    slow = "fastapi, sqlalchemy, uvicorn, alembic, psycopg, cryptography, yaml"
    check = f"import kubestead.cli.app, sys; print([n for n in '{slow}'.split(', ') if n in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", check], text=True).strip() == "[]"
