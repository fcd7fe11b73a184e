# SPDX-License-Identifier: GPL-3.0-or-later
"""Running kubeadm, making the first control plane and joining, with programs that do what they are told."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from kubestead.model import initialising, joining
from kubestead.model import kubeadm as kubeadm_module
from kubestead.model.admin_access import AdminAccess
from kubestead.model.cluster_certificates import ClusterCertificates
from kubestead.model.initialising import Initialiser, InitOptions
from kubestead.model.joining import Joiner, JoinOptions, Material, join_record, with_secrets
from kubestead.model.kubeadm import (
    BusyError,
    Outcome,
    config_in_memory,
    end_late,
    lock,
    redact,
    run_logged,
    running,
)
from kubestead.model.node_run import ClusterError
from tests.unit.kubeadm_sample import Programs, make_certificate, put, put_control_plane, sample_host


def test_tokens_and_keys_are_taken_out_and_pins_stay() -> None:
    pin = "sha256:" + "a" * 64
    assert redact(f"join --token abcdef.0123456789abcdef --hash {pin} --key {'b' * 64}") == (
        f"join --token <token> --hash {pin} --key <key>"
    )


def test_a_program_writes_its_log_and_hides_tokens(tmp_path: Path) -> None:
    log = tmp_path / "log"
    outcome = run_logged([sys.executable, "-c", "print('token abcdef.0123456789abcdef')"], log, 20)
    assert (outcome.code, outcome.output) == (0, "token <token>\n")
    assert log.stat().st_mode & 0o777 == 0o600
    text = log.read_text()
    assert "abcdef.0123456789abcdef" not in text.splitlines()[1]
    assert text.splitlines()[-1] == "--- exit code 0"


def test_a_program_that_hangs_is_ended(tmp_path: Path) -> None:
    begin = time.monotonic()
    outcome = run_logged([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "log", 0.5)
    assert outcome.timed_out
    assert time.monotonic() - begin < 10
    assert "did not end in time" in outcome.problem()


def test_the_lock_is_held_by_the_program_too(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = "import fcntl, os, sys; os.fstat(int(sys.argv[1])); print('held')"
    with lock(0, path) as held:
        outcome = run_logged([sys.executable, "-c", code, str(held)], tmp_path / "log", 20, pass_lock=held)
        assert outcome.output == "held\n"
        with pytest.raises(BusyError), lock(0, path):
            pass
    with lock(0, path):
        pass


def test_a_configuration_in_memory_can_be_read_by_the_program(tmp_path: Path) -> None:
    handle = config_in_memory("kind: X")
    try:
        code = "import sys; print(open(sys.argv[1]).read(), open(sys.argv[1]).read())"
        outcome = run_logged(
            [sys.executable, "-c", code, f"/proc/self/fd/{handle}"], tmp_path / "log", 20, [handle]
        )
    finally:
        os.close(handle)
    assert outcome.output == "kind: X kind: X\n"


def test_what_is_wrong_is_found_in_the_output() -> None:
    text = "[init] x\nerror execution phase preflight: Some errors:\n\t[ERROR Swap]: swap is on\nmore\n"
    assert Outcome(1, text).problem() == (
        "error execution phase preflight: Some errors: | [ERROR Swap]: swap is on"
    )
    assert Outcome(1, "one\ntwo\n").problem() == "one | two"
    assert "signal 9" in Outcome(-9, "one\n").problem()


def test_processes_are_found_by_their_command_line() -> None:
    assert os.getpid() in running([os.path.basename(Path("/proc/self/cmdline").read_text().split("\0")[0])])
    assert running(["kubeadm", "no-such-word"]) == []


class Kubeadm:
    """A kubeadm that makes the files of a control plane, or stops on the way."""

    def __init__(self, root: Path, die: str = "") -> None:
        self.root = root
        self.die = die
        self.calls: list[str] = []

    def __call__(
        self, argv: Sequence[str], log: Path, timeout: float, keep: Any = (), pass_lock: Any = None
    ) -> Outcome:
        line = " ".join(argv)
        self.calls.append(line)
        if not line.startswith("kubeadm init"):
            return Outcome(0, "")
        if self.die == "certs":
            put(self.root, "etc/kubernetes/pki/ca.key")
            return Outcome(-9, "[certs]")
        put_control_plane(self.root, *make_certificate("kubernetes"))
        if self.die == "slow" and "--ignore-preflight-errors" not in line:
            return Outcome(1, "context deadline exceeded")
        return Outcome(-9, "[upload]") if self.die == "upload" else Outcome(0, "")


@pytest.fixture
def ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """An API that is ready as soon as it is asked."""
    monkeypatch.setattr(initialising, "api_health", lambda *_: ({"readyz": 200}, ""))
    monkeypatch.setattr(AdminAccess, "repair", lambda _self: "")
    monkeypatch.setattr(ClusterCertificates, "problems", lambda _self: {})
    monkeypatch.setattr(ClusterCertificates, "check_authorities", lambda _self: None)


def options(root: Path, **more: Any) -> InitOptions:
    """Options for a machine in `root`."""
    return InitOptions(
        "cp-1", "kind: X\n", root / "etc/kubernetes/kubeadm-config.yaml", root / "log", 1, **more
    )


def record(root: Path) -> dict[str, Any]:
    """Our record of the initialisation."""
    found: dict[str, Any] = json.loads((root / "etc/kubernetes/kubestead-init.json").read_text())
    return found


PROGRAMS: dict[str, Any] = {
    "kubeadm version": (0, "v1.36.4", ""),
    "kubeadm config validate": (0, "", ""),
    "systemctl": (0, "LoadState=loaded\nActiveState=active", ""),
    "crictl": (0, "", ""),
}


@pytest.mark.usefixtures("ready")
def test_a_cluster_is_made_once(tmp_path: Path) -> None:
    kubeadm = Kubeadm(tmp_path)
    result = Initialiser(
        options(tmp_path), sample_host(tmp_path, Programs(dict(PROGRAMS))), execute=kubeadm
    ).run()
    assert (result.action, result.changed, record(tmp_path)["state"]) == ("initialise", True, "done")
    assert [call.split(" --")[0] for call in kubeadm.calls] == ["kubeadm config images pull", "kubeadm init"]
    assert (tmp_path / "etc/kubernetes/kubeadm-config.yaml").stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("ready")
def test_what_was_too_slow_is_repeated_once(tmp_path: Path) -> None:
    kubeadm = Kubeadm(tmp_path, "slow")
    host = sample_host(tmp_path, Programs(dict(PROGRAMS)))
    assert Initialiser(options(tmp_path), host, execute=kubeadm).run().action == "initialise"
    first, second = kubeadm.calls[1:]
    assert "--ignore-preflight-errors" not in first
    assert "DirAvailable--var-lib-etcd" in second
    assert record(tmp_path)["state"] == "done"


@pytest.mark.usefixtures("ready")
def test_after_a_kill_without_data_it_begins_anew(tmp_path: Path) -> None:
    put(tmp_path, "etc/kubernetes/pki/etcd/ca.crt", "mine")
    host = sample_host(tmp_path, Programs(dict(PROGRAMS)))
    with pytest.raises(ClusterError, match="same command again"):
        Initialiser(options(tmp_path), host, execute=Kubeadm(tmp_path, "certs")).run()
    put(tmp_path, "etc/kubernetes/pki/apiserver.crt", "half")
    assert (record(tmp_path)["state"], record(tmp_path)["kept"]) == ("begun", ["etcd/ca.crt"])
    result = Initialiser(options(tmp_path), host, execute=Kubeadm(tmp_path)).run()
    assert (result.action, record(tmp_path)["state"]) == ("clean_and_initialise", "done")
    assert (tmp_path / "etc/kubernetes/pki/etcd/ca.crt").read_text() == "mine"


@pytest.mark.usefixtures("ready")
def test_after_a_kill_with_data_it_goes_on_and_removes_nothing(tmp_path: Path) -> None:
    host = sample_host(tmp_path, Programs(dict(PROGRAMS)))
    with pytest.raises(ClusterError, match="signal 9"):
        Initialiser(options(tmp_path), host, execute=Kubeadm(tmp_path, "upload")).run()
    put(tmp_path, "var/lib/etcd/member/precious", "data")
    kubeadm = Kubeadm(tmp_path)
    result = Initialiser(options(tmp_path), host, execute=kubeadm).run()
    assert (result.action, record(tmp_path)["state"]) == ("resume", "done")
    assert "DirAvailable--var-lib-etcd" in kubeadm.calls[-1]
    assert (tmp_path / "var/lib/etcd/member/precious").read_text() == "data"


def test_check_mode_writes_nothing(tmp_path: Path) -> None:
    kubeadm = Kubeadm(tmp_path)
    result = Initialiser(options(tmp_path), sample_host(tmp_path, Programs()), execute=kubeadm).run(
        check=True
    )
    assert (result.action, result.changed, kubeadm.calls) == ("initialise", True, [])
    assert not (tmp_path / "etc").exists()


def test_a_configuration_that_kubeadm_refuses_is_not_written(tmp_path: Path) -> None:
    programs = Programs({**PROGRAMS, "kubeadm config validate": (1, "", "error: unknown field x")})
    with pytest.raises(ClusterError, match=r"unknown field x.*kubeadm_init_\*"):
        Initialiser(options(tmp_path), sample_host(tmp_path, programs), execute=Kubeadm(tmp_path)).run()
    assert not (tmp_path / "etc/kubernetes/kubeadm-config.yaml").exists()


def test_a_refusal_touches_nothing(tmp_path: Path) -> None:
    put(tmp_path, "var/lib/etcd/member/snap/db")
    kubeadm = Kubeadm(tmp_path)
    with pytest.raises(ClusterError, match="not touched"):
        Initialiser(options(tmp_path), sample_host(tmp_path, Programs()), execute=kubeadm).run()
    assert kubeadm.calls == []
    assert not (tmp_path / "etc").exists()


# --- joining ------------------------------------------------------------------------------------------------


def test_the_token_is_added_in_two_places() -> None:
    document = json.loads(
        with_secrets(
            {"kind": "J", "discovery": {"bootstrapToken": {"apiServerEndpoint": "a"}}}, Material("t")
        )
    )
    assert document["discovery"] == {
        "bootstrapToken": {"apiServerEndpoint": "a", "token": "t"},
        "tlsBootstrapToken": "t",
    }


def test_without_a_token_a_new_machine_asks_for_one(tmp_path: Path) -> None:
    wanted = JoinOptions("w-1", "w-1", {"ca_pin": "sha256:1", "nodes": []})
    result = Joiner(wanted, sample_host(tmp_path, Programs()), execute=Kubeadm(tmp_path)).run()
    assert (result.needs_token, result.changed, result.action) == (True, False, "join")
    checked = Joiner(wanted, sample_host(tmp_path, Programs()), execute=Kubeadm(tmp_path)).run(check=True)
    assert (checked.needs_token, checked.changed) == (False, True)


def join_options(root: Path) -> JoinOptions:
    """Options with a token."""
    return JoinOptions(
        "w-1",
        "w-1",
        {"ca_pin": "sha256:1", "nodes": []},
        {"kind": "JoinConfiguration"},
        Material("abcdef.0123456789abcdef"),
        log=root / "var/log/kubeadm-join.log",
        failure_log=root / "var/log/kubeadm-join-failure.log",
        timeout=5,
    )


def test_a_failed_join_says_where_to_look_and_keeps_no_token(tmp_path: Path) -> None:
    def fails(
        argv: Sequence[str], log: Path, timeout: float, keep: Sequence[int] = (), pass_lock: Any = None
    ) -> Outcome:
        assert "abcdef.0123456789abcdef" in Path(f"/proc/self/fd/{keep[0]}").read_text()
        return Outcome(1, "error execution phase preflight: couldn't validate the identity")

    programs = Programs({**PROGRAMS, "journalctl": (0, "bad token abcdef.0123456789abcdef", "")})
    with pytest.raises(ClusterError, match=r"kubeadm-join-failure\.log"):
        Joiner(join_options(tmp_path), sample_host(tmp_path, programs), execute=fails).run()
    failure = tmp_path / "var/log/kubeadm-join-failure.log"
    assert failure.stat().st_mode & 0o777 == 0o600
    assert "bad token <token>" in failure.read_text()


def test_leftovers_of_a_join_are_cleared_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "etc/kubernetes/bootstrap-kubelet.conf")
    put(tmp_path, "etc/kubernetes/pki/ca.crt")
    put(tmp_path, "var/lib/kubelet/config.yaml")
    seen: list[bool] = []

    def joins(
        argv: Sequence[str], log: Path, timeout: float, keep: Any = (), pass_lock: Any = None
    ) -> Outcome:
        seen.append(any(path.is_file() for path in (tmp_path / "etc/kubernetes").rglob("*")))
        put(tmp_path, "etc/kubernetes/kubelet.conf", "server: https://127.0.0.1:1")
        return Outcome(0, "")

    monkeypatch.setattr(joining.Joiner, "_wait_healthy", lambda _self: None)
    result = Joiner(
        join_options(tmp_path), sample_host(tmp_path, Programs(dict(PROGRAMS))), execute=joins
    ).run()
    assert (result.action, result.changed, seen) == ("clean_and_join", True, [False])
    assert result.joined_at is not None


def test_what_is_kept_of_a_join_is_no_secret(tmp_path: Path) -> None:
    options = join_options(tmp_path)
    options.configuration = {"discovery": {"bootstrapToken": {"apiServerEndpoint": "10.0.0.11:6443"}}}
    moment = datetime(2026, 1, 1, tzinfo=timezone.utc)
    record = join_record(options, "2026-01-01T00:15:00Z", moment)
    assert record == {
        "node": "w-1",
        "role": "worker",
        "endpoint": "10.0.0.11:6443",
        "ca_pin": "sha256:1",
        "token_id": "abcdef",
        "token_expires": "2026-01-01T00:15:00Z",
        "joined_at": "2026-01-01T00:00:00Z",
    }


def test_the_lock_waits(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    other = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(other, fcntl.LOCK_EX)
    begin = time.monotonic()
    with pytest.raises(BusyError, match="another kubeadm"), lock(0.7, path):
        pass
    assert time.monotonic() - begin >= 0.7
    os.close(other)
    assert kubeadm_module.LOCK.parent == Path("/run/lock")


def test_a_process_that_is_late_is_ended_and_one_that_ends_is_waited_for() -> None:
    for seconds, patience in ((60, 0.1), (1, 30)):
        words = [os.path.basename(sys.executable), "-c", f"import time; time.sleep({seconds})"]
        process = subprocess.Popen([sys.executable, *words[1:]])
        begin = time.monotonic()
        while not running(words):
            assert time.monotonic() < begin + 20
        reaper = threading.Thread(target=process.wait)
        reaper.start()
        end_late(words, patience)
        reaper.join(20)
        assert process.returncode == (-15 if seconds == 60 else 0)
