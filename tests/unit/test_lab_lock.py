# SPDX-License-Identifier: GPL-3.0-or-later
"""One run at a time for each lab; a run that was killed holds nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lab.errors import LockedError
from lab.lock import held
from lab.process import wait_until

HOLDER = """
import sys, time
from pathlib import Path
from lab.lock import held
with held(Path(sys.argv[1]), "lab x"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_file_goes_with_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "labs" / "x.lock"
    with held(path, "lab x"):
        assert path.read_text().strip() == str(os.getpid())
    assert not path.exists()


def test_a_second_run_is_told_who_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    with (
        held(path, "lab x"),
        pytest.raises(LockedError, match=str(os.getpid())) as caught,
        held(path, "lab x"),
    ):
        pass
    assert caught.value.exit_code == 5
    with held(path, "lab x"):
        pass


def test_a_second_run_waits_when_it_is_told_to(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    order = []

    def second() -> None:
        with held(path, "lab x", wait=True):
            order.append("second")

    with held(path, "lab x"):
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(0.3)
        order.append("first")
    waiting.join(5)
    assert order == ["first", "second"]


def test_a_killed_run_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockedError, match=str(holder.pid)), held(path, "lab x"):
            pass
        holder.send_signal(signal.SIGKILL)
        assert wait_until(lambda: holder.poll() is not None, 5)
    with held(path, "lab x"):
        pass
