# SPDX-License-Identifier: GPL-3.0-or-later
"""Two writers of one registry: each waits its turn, and no change is lost."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from kubestead.model.registry import Registry, RegistryError, RegistryLockedError, RegistryUnwritableError
from kubestead.model.registry_lock import lock_file, locked

MAC = "52:54:00:77:00:11"


def entry(hostname: str) -> dict[str, str]:
    """The entry of a worker."""
    return {"hostname": hostname, "role": "worker", "architecture": "amd64"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A registry with one machine."""
    file = tmp_path / "registry.json"
    Registry({MAC: entry("first")}).save(file)
    return file


HOLDER = """\
import sys
from kubestead.model.registry_lock import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def other_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another program that holds the lock until its standard input is closed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


ADDER = """\
import sys
from kubestead.model.registry import Registry
path, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for i in range(first, first + count):
    entry = {"hostname": f"node-{i}", "role": "worker", "architecture": "amd64"}
    Registry.update(path, lambda registry: registry.with_machine(f"525400{i:06x}", entry), timeout=60)
"""


def test_no_change_of_two_programs_at_once_is_lost(path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", ADDER, path, str(first), "20"]) for first in (100, 200)
    ]
    assert [writer.wait() for writer in writers] == [0, 0]
    names = {machine.hostname for machine in Registry.load(path)}
    assert names == {"first", *(f"node-{first + i}" for first in (100, 200) for i in range(20))}


def test_threads_exclude_each_other(path: Path) -> None:
    def add(number: int) -> None:
        for i in range(10):
            mac, hostname = f"5254{number:04x}{i:04x}", f"n-{number}-{i}"
            Registry.update(path, partial(Registry.with_machine, mac=mac, values=entry(hostname)))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Registry.load(path)) == 41


def test_who_waits_in_vain_is_told_who_holds_it(path: Path) -> None:
    with other_process(path) as holder:
        with pytest.raises(RegistryLockedError) as caught:
            Registry.update(path, lambda old: old, timeout=0.05)
        assert f"{path}: is being changed by -c (process {holder.pid} on " in str(caught.value)
        assert "expected to be free within 0.05 seconds; try again" in str(caught.value)
        assert len(Registry.load(path)) == 1, "reading needs no lock"


def test_the_lock_of_a_killed_writer_is_free(path: Path) -> None:
    with other_process(path) as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    left = Path(lock_file(path))
    assert f"process {holder.pid}" in left.read_text(encoding="utf-8")
    Registry.update(path, lambda old: old.with_machine("525400770021", entry("second")), timeout=0)
    assert len(Registry.load(path)) == 2
    assert left.read_text(encoding="utf-8") == "", "and does not name the dead one any more"


def test_what_a_killed_writer_had_begun_is_not_taken_for_a_registry(path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from kubestead.model.registry import Registry\n"
        "os.replace = lambda *names: os.kill(os.getpid(), signal.SIGKILL)\n"
        "Registry.update(sys.argv[1], lambda old: Registry({}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, path], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [machine.hostname for machine in Registry.load(path)] == ["first"]
    Registry.update(path, lambda old: old.without_machine(MAC))
    assert len(Registry.load(path)) == 0


def test_a_link_and_its_file_have_one_lock(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    link = folder / "link.json"
    link.symlink_to(path)
    assert lock_file(link) == lock_file(path) == str(tmp_path / ".registry.json.lock")
    with other_process(path), pytest.raises(RegistryLockedError):
        Registry.update(link, lambda old: old, timeout=0)
    Registry.update(link, lambda old: old.with_machine("525400770021", entry("second")))
    assert link.is_symlink()
    assert len(Registry.load(path)) == 2
    assert [one.name for one in folder.iterdir()] == ["link.json"]


def test_a_lock_file_that_is_a_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept", encoding="utf-8")
    Path(lock_file(path)).symlink_to(victim)
    with pytest.raises(RegistryUnwritableError, match="cannot be written"):
        Registry.update(path, lambda old: Registry({}))
    assert victim.read_text(encoding="utf-8") == "kept"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RegistryUnwritableError, match=r"No such file or directory.*a folder that is there"):
        Registry.update(tmp_path / "no" / "registry.json", lambda old: old, create=True)


def test_a_failure_to_write_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_text(encoding="utf-8")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        RegistryUnwritableError, match=r"No space left on device.*the old content is untouched"
    ):
        Registry.update(path, lambda old: old.without_machine(MAC))
    assert path.read_text(encoding="utf-8") == before
    assert sorted(one.name for one in path.parent.iterdir()) == [".registry.json.lock", "registry.json"]


READ_ONLY = """\
import os, sys
from kubestead.model.registry import Registry, RegistryError
Registry.load(sys.argv[1])  # what Python itself has to read for it, while it may
if os.geteuid() == 0:
    os.setgid(65534); os.setuid(65534)
try:
    Registry.update(sys.argv[1], lambda old: Registry({}))
except RegistryError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("there_before", [False, True])
def test_a_folder_that_this_user_may_only_read(there_before: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "registry.json")
        Registry({MAC: entry("first")}).save(path)
        if there_before:
            with locked(path):
                pass
        path.parent.chmod(0o555)
        done = subprocess.run(
            [sys.executable, "-c", READ_ONLY, path], capture_output=True, text=True, check=False
        )
        path.parent.chmod(0o755)
        assert done.stdout == (
            f"RegistryUnwritableError {path}: cannot be written (Permission denied), "
            "expected a file and a folder that this user may write\n"
        ), done.stderr
        assert len(Registry.load(path)) == 1


def test_what_an_editor_saved_in_the_meantime_is_kept(path: Path) -> None:
    seen: list[int] = []

    def change(old: Registry) -> Registry:
        seen.append(len(old))
        if len(seen) == 1:
            old.with_machine("525400770099", entry("by-hand")).save(path)
        return old.with_machine("525400770021", entry("second"))

    assert len(Registry.update(path, change)) == 3
    assert seen == [1, 2]
    assert [machine.hostname for machine in Registry.load(path)] == ["first", "by-hand", "second"]


def test_a_file_that_is_never_left_alone(path: Path) -> None:
    def change(old: Registry) -> Registry:
        path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
        return Registry({})

    with pytest.raises(RegistryLockedError, match="was saved by another program 5 times"):
        Registry.update(path, change)
    assert len(Registry.load(path)) == 1


def test_no_change_leaves_the_file_as_it_is_written(path: Path) -> None:
    text = '{"525400770011":\n {"hostname": "a", "role": "worker",\n "architecture": "amd64"}}'
    path.write_text(text, encoding="utf-8")
    Registry.update(path, lambda old: old.with_machine(MAC, entry("a")))
    assert path.read_text(encoding="utf-8") == text


def test_a_change_that_is_refused_leaves_the_file_and_the_lock_free(path: Path) -> None:
    with pytest.raises(RegistryError, match="expected one of its own"):
        Registry.update(path, lambda old: old.with_machine("525400770021", entry("first")))
    with pytest.raises(KeyError):
        Registry.update(path, lambda old: old.without_machine("525400770021"))
    with open(lock_file(path), "rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert len(Registry.load(path)) == 1


def test_the_first_machine_makes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "registry.yml"
    with pytest.raises(RegistryError, match="is not there"):
        Registry.update(path, lambda old: old)
    assert not path.exists()
    Registry.update(path, lambda old: old.with_machine(MAC, entry("first")), create=True)
    assert [machine.hostname for machine in Registry.load(path)] == ["first"]
