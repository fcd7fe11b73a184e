# SPDX-License-Identifier: GPL-3.0-or-later
"""The callback in real runs of ansible-playbook, against a real server that takes its reports."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TOKEN = secrets.token_hex()
MAC_A, MAC_B = "52:54:00:00:00:0a", "52:54:00:00:00:0b"
INVENTORY = f"""\
all:
  vars:
    ansible_connection: local
    ansible_python_interpreter: "{sys.executable}"
  hosts:
    a: {{machine_mac: "{MAC_A}"}}
    b: {{machine_mac: "{MAC_B}"}}
    nameless: {{}}
  children:
    worker: {{hosts: {{a: {{}}}}}}
"""


class Api(ThreadingHTTPServer):
    """Takes reports, with the token only."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.reports: list[dict[str, Any]] = []
        self.kept: list[dict[str, Any]] = []
        self.correlation_ids: set[str] = set()
        self.states: dict[str, Any] = {}
        self.refuse: int | None = None
        self.wait = 0.0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"

    def of(self, mac: str) -> list[tuple[Any, ...]]:
        """State, phase and progress as they were reported of a machine."""
        return [
            (one["state"], one.get("phase"), one.get("progress")) for one in self.reports if one["mac"] == mac
        ]


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Api

    def answer(self, status: int, body: Any) -> None:
        """Send JSON."""
        payload = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def do_GET(self) -> None:
        """The states before the run."""
        assert self.path == "/api/states"
        self.answer(200, self.server.states)

    def do_POST(self) -> None:
        """A report."""
        threading.Event().wait(self.server.wait)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        paths = {"/api/state": self.server.reports, "/api/data": self.server.kept}
        if self.headers.get("Authorization") != f"Bearer {TOKEN}" or self.path not in paths:
            self.answer(401, {"detail": "no"})
        elif self.server.refuse:
            self.answer(self.server.refuse, {"detail": "not this one"})
        else:
            paths[self.path].append(body)
            self.server.correlation_ids.add(self.headers["X-Correlation-ID"])
            self.answer(200, {})

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def api() -> Iterator[Api]:
    """A State API on a free port."""
    found = Api()
    threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield found
    found.shutdown()
    found.server_close()


class Runner:
    """Runs playbooks in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.summary_file = folder / "summary.json"
        self.token_file = folder / "token"
        self.token_file.write_text(f"{TOKEN}\n", encoding="utf-8")
        (folder / "hosts.yml").write_text(INVENTORY, encoding="utf-8")

    def start(self, plays: str, url: str | None, *arguments: str, **more: str) -> subprocess.Popen[str]:
        """Start a playbook."""
        (self.folder / "play.yml").write_text(plays, encoding="utf-8")
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ANSIBLE_", "KUBESTEAD_"))
        }
        environment |= {
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "KUBESTEAD_SUMMARY_FILE": str(self.summary_file),
            "KUBESTEAD_API_TOKEN_FILE": str(self.token_file),
            **({"KUBESTEAD_API_URL": url} if url else {}),
            **more,
        }
        return subprocess.Popen(
            [
                Path(sys.executable).parent / "ansible-playbook",
                "-i",
                self.folder / "hosts.yml",
                self.folder / "play.yml",
                *arguments,
            ],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __call__(self, plays: str, url: str | None, *arguments: str, **more: str) -> tuple[int, str, Any]:
        """Run a playbook; give its exit code, what it said, and the summary."""
        process = self.start(plays, url, *arguments, **more)
        said, _ = process.communicate(timeout=120)
        summary = (
            json.loads(self.summary_file.read_text(encoding="utf-8")) if self.summary_file.exists() else None
        )
        assert TOKEN not in said
        assert TOKEN not in json.dumps(summary)
        return process.returncode, said, summary


@pytest.fixture
def run(tmp_path: Path) -> Runner:
    """A folder to run playbooks in."""
    return Runner(tmp_path)


def play(phase: str, tasks: str = "- ansible.builtin.command: 'true'", hosts: str = "all") -> str:
    """A play of a phase."""
    indented = "\n".join(f"    {line}" for line in tasks.splitlines())
    return (
        f"- name: A play\n  hosts: {hosts}\n  gather_facts: false\n"
        f"  vars: {{kubestead_phase: {phase}}}\n  tasks:\n{indented}\n"
    )


def test_a_run_that_goes_well(api: Api, run: Runner) -> None:
    api.refuse = None
    code, said, summary = run(play("prepare") + play("join") + play("validate", hosts="a"), api.url)
    assert code == 0, said
    assert api.of(MAC_A) == [
        ("provisioning", "prepare", 16),
        ("provisioning", "join", 50),
        ("provisioning", "validate", 83),
        ("ready", "validate", 100),
    ]
    assert api.of(MAC_B) == [
        ("provisioning", "prepare", 16),
        ("provisioning", "join", 50),
        ("ready", "join", 100),
    ]
    assert {report["mac"] for report in api.reports} == {MAC_A, MAC_B}
    assert [report.get("features") for report in api.reports if report["mac"] == MAC_A] == [
        None,
        None,
        None,
        {"kubernetes": "ready"},
    ]
    assert len(api.correlation_ids) == 1
    assert [(phase["name"], phase["ok"]) for phase in summary["phases"]] == [
        ("prepare", True),
        ("join", True),
        ("validate", True),
    ]
    assert summary["playbook"] == "play.yml"
    assert summary["failure"] is None
    assert summary["seconds"] >= sum(phase["seconds"] for phase in summary["phases"]) - 0.2
    assert summary["hosts"]["a"] == {
        "ok": 3,
        "changed": 3,
        "failed": 0,
        "unreachable": 0,
        "skipped": 0,
        "round_trips": 3,
    }


JOINS = """\
#!/usr/bin/python
from ansible.module_utils.basic import AnsibleModule
AnsibleModule({}, supports_check_mode=True).exit_json(kubestead_data={"join": {"token_id": "abcdef"}})
"""


def test_what_a_module_wants_kept_of_its_machine_is_kept(api: Api, run: Runner) -> None:
    (run.folder / "library").mkdir()
    (run.folder / "library" / "joins.py").write_text(JOINS, encoding="utf-8")
    plays = play("join", "- joins:\n  delegate_to: nameless") + play("network", "- joins:", hosts="nameless")
    assert run(plays, api.url, "--check")[0] == 0
    assert api.kept == []
    code, said, _ = run(plays, api.url)
    assert code == 0, said
    assert {one.pop("mac") for one in api.kept} == {MAC_A, MAC_B}
    assert api.kept == [{"key": "join", "value": {"token_id": "abcdef"}}] * 2


ROUND_TRIPS = """\
- ansible.builtin.command: 'true'                   # 1
- ansible.builtin.debug: {msg: here}
- ansible.builtin.set_fact: {x: 1}
- ansible.builtin.assert: {that: x == 1}
- ansible.builtin.command: 'true'                   # two of three: 3
  loop: [1, 2, 3]
  when: item != 2
- ansible.builtin.command: 'true'
  when: false
- ansible.builtin.command: 'true'
  loop: []
- ansible.builtin.debug: {msg: here}
  loop: [1, 2]
- ansible.builtin.command: 'true'                   # 4
  no_log: true
- ansible.builtin.command: 'true'
  no_log: true
  when: false
- ansible.builtin.command: 'true'                   # for b
  delegate_to: "{{ 'b' }}"
- ansible.builtin.command: 'true'                   # for b, twice
  delegate_to: "{{ item }}"
  loop: [b, b]
- ansible.builtin.command: 'false'                  # three attempts: 7
  register: tried
  until: tried.rc == 0
  retries: 2
  delay: 0
  ignore_errors: true
- block:
    - ansible.builtin.command: 'false'              # 8
  rescue:
    - ansible.builtin.ping:                         # 9
"""


def test_round_trips_are_what_went_to_the_host(run: Runner) -> None:
    code, said, summary = run(play("prepare", ROUND_TRIPS, hosts="a"), None)
    assert code == 0, said
    assert summary["hosts"]["a"]["round_trips"] == 9
    assert summary["failure"] is None
    assert summary["phases"][0]["ok"] is True
    assert "ROUND TRIPS ***" in said
    assert "\na                          : 9\nb                          : 3\n" in said


def test_a_failure_is_reported_and_summed_up(api: Api, run: Runner) -> None:
    tasks = """\
- name: Say it
  ansible.builtin.command: "sh -c 'echo --token abcdef.0123456789abcdef is wrong >&2; exit 3'"
  when: inventory_hostname == 'a'"""
    code, said, summary = run(play("prepare", tasks) + play("validate"), api.url)
    assert code == 2, said
    assert api.of(MAC_A) == [("provisioning", "prepare", 16), ("failed", "prepare", 16)]
    failed = next(report for report in api.reports if report["state"] == "failed")
    assert failed["message"] == "prepare: Say it"
    assert failed["error"] == "non-zero return code\n--token … is wrong"
    assert failed["features"] == {"kubernetes": "failed"}
    assert summary["failure"] == {
        "kind": "phase_failed",
        "host": "a",
        "phase": "prepare",
        "task": "Say it",
        "message": failed["error"],
    }
    assert [phase["ok"] for phase in summary["phases"]] == [False, True]
    assert summary["hosts"]["a"]["failed"] == 1
    assert api.of(MAC_B)[-1] == ("ready", "validate", 100)


def test_hidden_results_stay_hidden(api: Api, run: Runner) -> None:
    tasks = "- ansible.builtin.fail: {msg: hunter2}\n  no_log: true"
    _, _, summary = run(play("join", tasks, hosts="a"), api.url)
    assert "hunter2" not in json.dumps(summary) + json.dumps(api.reports)
    assert "no_log" in summary["failure"]["message"]


def test_a_rescued_failure_is_none_and_a_failed_rescue_is_one(api: Api, run: Runner) -> None:
    tasks = """\
- block:
    - ansible.builtin.fail: {msg: first}
  rescue:
    - ansible.builtin.fail: {msg: second}
      when: inventory_hostname == 'a'"""
    _, _, summary = run(play("prepare", tasks), api.url)
    assert summary["failure"]["message"] == "second"
    assert summary["failure"]["host"] == "a"
    assert "failed" in [state for state, _, _ in api.of(MAC_A)]
    assert "failed" not in [state for state, _, _ in api.of(MAC_B)]
    assert api.of(MAC_B)[-1] == ("installed", "prepare", 16)
    assert {one["message"] for one in api.reports if one["mac"] == MAC_B} >= {
        "prepare; the run ended when a failed"
    }


@pytest.mark.parametrize("way", ["import", "include"])
def test_the_diagnosis_of_a_role_that_failed_is_the_failure(run: Runner, way: str) -> None:
    (run.folder / "roles" / "broken" / "tasks").mkdir(parents=True)
    (run.folder / "roles" / "broken" / "tasks" / "main.yml").write_text(
        "- ansible.builtin.fail: {msg: first}\n", encoding="utf-8"
    )
    tasks = f"""\
- block:
    - ansible.builtin.{way}_role: {{name: broken}}
  rescue:
    - ansible.builtin.fail: {{msg: second}}"""
    _, said, summary = run(play("prepare", tasks, hosts="a"), None)
    assert summary["failure"]["message"] == "second", said
    assert [one["message"] for one in summary["failures"]] == ["second"]


def test_software_that_cannot_be_reached_has_its_own_kind(run: Runner, tmp_path: Path) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "probe.py").write_text(
        "from ansible.module_utils.basic import AnsibleModule\n"
        "AnsibleModule({}).fail_json(msg='no way to it', kubestead_failure='software_unreachable')\n",
        encoding="utf-8",
    )
    _, said, summary = run(
        play("prepare", "- probe:", hosts="a"), None, ANSIBLE_LIBRARY=str(tmp_path / "library")
    )
    assert summary["failure"]["kind"] == "software_unreachable", said
    assert summary["failure"]["message"] == "no way to it"


def test_a_host_that_cannot_be_reached(api: Api, run: Runner) -> None:
    plays = play("prepare", "- ansible.builtin.ping:", hosts="a").replace(
        "gather_facts: false", "gather_facts: false\n  connection: ssh"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
        where = json.dumps({"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": port})
        code, said, summary = run(plays, api.url, "--extra-vars", where)
    assert code == 4, said
    assert summary["failure"]["kind"] == "host_unreachable"
    assert summary["hosts"]["a"] == {
        "ok": 0,
        "changed": 0,
        "failed": 0,
        "unreachable": 1,
        "skipped": 0,
        "round_trips": 0,
    }
    assert api.of(MAC_A)[-1] == ("failed", "prepare", 16)


def test_a_ready_machine_is_ready_again_after_a_part_of_the_phases(api: Api, run: Runner) -> None:
    api.states = {MAC_A: {"state": "ready"}, MAC_B: {"state": "installed"}}
    run(play("prepare"), api.url)
    assert api.of(MAC_A) == [("provisioning", "prepare", 16), ("ready", "prepare", 100)]
    assert api.of(MAC_B)[-1] == ("installed", "prepare", 33)


def test_after_a_reset_a_machine_is_installed(api: Api, run: Runner) -> None:
    run(play("reset"), api.url)
    assert api.of(MAC_A) == [("provisioning", "reset", None), ("installed", "reset", 0)]
    assert {one["mac"]: one["features"] for one in api.reports if "features" in one} == {
        MAC_A: {"kubernetes": "removed"}  # the other is no node
    }


def test_a_long_phase_tells_its_present_task(api: Api, run: Runner) -> None:
    tasks = """\
- name: The first
  ansible.builtin.command: 'true'
- name: The long one
  ansible.builtin.command: sleep 1
- name: The last
  ansible.builtin.command: sleep 1"""
    run(play("prepare", tasks, hosts="a"), api.url, KUBESTEAD_REPORT_INTERVAL="0")
    messages = [one["message"] for one in api.reports]
    assert "The long one" in messages
    assert "The last" in messages


def test_the_address_by_variables(api: Api, run: Runner) -> None:
    variables = json.dumps({"kubestead_api_url": api.url})
    run(play("prepare", hosts="a"), None, "--extra-vars", variables)
    assert api.of(MAC_A)


def test_check_mode_reports_nothing(api: Api, run: Runner) -> None:
    code, _, summary = run(play("prepare"), api.url, "--check")
    assert code == 0
    assert summary["phases"][0]["name"] == "prepare"
    assert api.reports == []


def test_an_api_that_is_not_there_costs_a_warning(run: Runner) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        code, said, summary = run(play("prepare") + play("validate"), url)
    said = " ".join(said.split())
    assert code == 0
    assert summary["failure"] is None
    assert said.count("did not reach the State API") == 1
    assert f"({url}: connection refused)" in said


def test_a_run_is_as_fast_with_an_api_that_is_down_hangs_or_is_slow(api: Api, run: Runner) -> None:
    tasks = "- ansible.builtin.debug:\n" * 20
    plays = play("prepare", tasks) + play("validate", tasks)
    api.wait = 0.3
    seconds: dict[str, list[float]] = {}
    with socket.socket() as free, socket.socket() as silent:
        free.bind(("127.0.0.1", 0))
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        urls = {
            "none": None,
            "down": f"http://127.0.0.1:{free.getsockname()[1]}",
            "hangs": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "slow": api.url,
        }
        # What else this computer does makes a run slower, never faster: the fastest of a few count.
        for _ in range(6):
            for name, url in urls.items():
                started = time.monotonic()
                code, said, _summary = run(plays, url, KUBESTEAD_REPORT_INTERVAL="0")
                seconds.setdefault(name, []).append(time.monotonic() - started)
                assert code == 0, said
                lost = "did not reach the State API" in " ".join(said.split())
                assert lost is (name in ("down", "hangs"))
            fastest = {name: min(found) for name, found in seconds.items()}
            # Two machines are reported at the end: what that may cost with an API that takes 0.3 s for each.
            allowed = {"down": 0.3, "hangs": 0.8, "slow": 1.5}
            slow = [name for name in allowed if fastest[name] >= fastest["none"] * 1.25 + allowed[name]]
            if not slow:
                break
    print("seconds of a run:", {name: round(found, 2) for name, found in fastest.items()})
    assert slow == [], seconds
    assert api.of(MAC_A)[-1] == ("ready", "validate", 100)


def test_an_api_that_comes_up_during_the_run_hears_it_all(api: Api, run: Runner, tmp_path: Path) -> None:
    token = tmp_path / "late"
    tasks = (
        "- ansible.builtin.command: 'true'\n"
        f"- ansible.builtin.copy: {{src: {run.token_file}, dest: {token}, mode: '0600'}}"
    )
    code, said, _ = run(
        play("state_api", tasks, hosts="a") + play("validate", hosts="a"),
        api.url,
        KUBESTEAD_API_TOKEN_FILE=str(token),
    )
    assert code == 0
    assert "did not reach" not in said
    assert api.of(MAC_A) == [
        ("provisioning", "state_api", 0),
        ("provisioning", "validate", 83),
        ("ready", "validate", 100),
    ]


def test_refused_reports_are_one_warning(api: Api, run: Runner) -> None:
    api.refuse = 409
    code, said, _ = run(play("prepare"), api.url)
    said = " ".join(said.split())
    assert code == 0
    assert said.count("The State API refused") == 1
    assert "the first, of a: not this one. The run is not affected." in said


def test_without_an_address_nothing_is_said(run: Runner) -> None:
    code, said, summary = run(play("prepare"), None, KUBESTEAD_SHOW_ROUND_TRIPS="false")
    assert code == 0
    assert "State API" not in said
    assert "ROUND TRIPS" not in said
    assert summary["hosts"]["nameless"]["round_trips"] == 1


def test_a_run_that_is_cut_off(api: Api, run: Runner) -> None:
    run.summary_file.write_text("{}", encoding="utf-8")
    process = run.start(play("prepare", "- ansible.builtin.command: sleep 60", hosts="a"), api.url)
    deadline = time.monotonic() + 60
    while not api.reports and time.monotonic() < deadline:
        threading.Event().wait(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert api.of(MAC_A)[-1] == ("failed", "prepare", 16)
    assert "cut off" in api.reports[-1]["error"]
    assert api.reports[-1]["features"] == {"kubernetes": "failed"}
    assert not run.summary_file.exists()


def test_after_provisioning_a_machine_is_ready_and_a_silent_play_reports_nothing(
    api: Api, run: Runner
) -> None:
    task = "- ansible.builtin.fail: {msg: it did not come}\n  when: inventory_hostname == 'b'"
    silent = play("provision", task).replace("n}", "n, kubestead_reports: false}", 1)
    assert "kubestead_reports" in silent
    code, said, summary = run(silent + play("provision"), api.url)
    assert code == 2, said
    assert api.of(MAC_A) == [("provisioning", "provision", None), ("ready", "provision", 100)]
    assert api.of(MAC_B) == []
    assert (summary["failure"]["host"], summary["failure"]["phase"]) == ("b", "provision")


def test_what_one_run_has_put_together_the_next_one_takes(run: Runner, tmp_path: Path) -> None:
    more = {"KUBESTEAD_CACHE": str(tmp_path / "cache"), "ANSIBLE_DEBUG": "1"}
    taken = "ANSIBALLZ: using cached module"
    code, said, _summary = run(play("prepare", hosts="a"), None, **more)
    assert code == 0, said
    assert taken not in said
    [state] = (tmp_path / "cache" / "payloads").iterdir()
    assert [path.name.partition("-")[0] for path in state.iterdir()] == ["ansible.modules.command"]
    code, said, _summary = run(play("prepare", hosts="a"), None, **more)
    assert code == 0, said
    assert taken in said
