# SPDX-License-Identifier: GPL-3.0-or-later
"""One virtual machine: a folder with its disk, and a QEMU while it is switched on.

What exists is what the folder says (machine.json); whether it is on is what the kernel says of the process
that wrote itself down there (run.json) and holds run.lock. Nothing else has to be cleared away after a crash:
the tap goes with the process.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

from kubestead.model.atomic import write_atomically
from lab import firmware, folders, network, qemu, qemu_qmp
from lab.errors import InputError, LabError
from lab.machine_spec import MachineSpec
from lab.process import Process, wait_until
from lab.qemu_probe import Accelerator

START_SECONDS = 60
PATIENCE = 30.0


class Machine:
    """A virtual machine of a lab."""

    def __init__(self, lab: str, lab_folder: Path, name: str) -> None:
        self.lab = lab
        self.name = name
        self.folder = lab_folder / "machines" / name
        self.disk = self.folder / "disk.img"
        self.serial_log = self.folder / "serial.log"
        self.serial_socket = self.folder / "serial.sock"
        self._monitor = self.folder / "qmp.sock"

    # What is there

    @property
    def spec(self) -> MachineSpec | None:
        """Return what the machine was made as; None when it was never made to the end."""
        try:
            return MachineSpec.from_dict(json.loads((self.folder / "machine.json").read_text()))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @property
    def process(self) -> Process | None:
        """Return its QEMU if it runs."""
        process = Process.load(self.folder / "run.json")
        return process if process and process.alive() else None

    def running(self) -> bool:
        """Say whether the machine is switched on."""
        return self.process is not None

    def state(self) -> str:
        """Return `running`, `off` or `unfinished`."""
        if self.spec is None:
            return "unfinished"
        return "running" if self.running() else "off"

    def accelerator(self) -> str | None:
        """Return how the machine runs, `kvm` or `tcg`; None while it is off."""
        try:
            return (
                str(json.loads((self.folder / "launch.json").read_text())["accelerator"])
                if self.running()
                else None
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    # Making and switching on

    def make(self, spec: MachineSpec) -> None:
        """Make the machine with an empty disk, or finish one that was left half-made."""
        known = self.spec
        if known == spec:
            return
        if known is None:
            self.wipe()
            self.folder.mkdir(parents=True)
            self.folder.chmod(0o700)
            with self.disk.open("wb") as disk:
                disk.truncate(spec.disk)
        elif (known.firmware, known.disk) != (spec.firmware, spec.disk):
            raise InputError(
                f"machine {self.name} was made with {known.firmware} and a disk of {known.disk >> 20}M, now "
                f"{spec.firmware} and {spec.disk >> 20}M are asked for; wipe it first: "
                f"./deploy.sh lab --lab {self.lab} machine wipe {self.name}"
            )
        elif self.running():
            raise InputError(
                f"machine {self.name} is on: its memory, address and MAC cannot change; switch it off first: "
                f"./deploy.sh lab --lab {self.lab} machine off {self.name}"
            )
        write_atomically(self.folder / "machine.json", json.dumps(spec.to_dict(), indent=1) + "\n")

    def power_on(self, accelerator: Accelerator) -> bool:
        """Switch the machine on; say whether it was off. One that is on stays so, its port is put right."""
        spec = self.spec
        if spec is None:
            raise InputError(f"machine {self.name} does not exist in lab {self.lab}")
        if self._plugged_in() and self._comes_up():
            network.plug(self.lab, spec.tap)
            return False
        self.cut()  # what a crash may have left, or what runs in a network that is gone
        if spec.firmware == firmware.UEFI:
            firmware.ensure_variables(self.folder / "uefi-variables.fd")
        if self.serial_log.is_file():
            self.serial_log.rename(self.folder / "serial.1.log")
        self.serial_log.touch(0o600)
        self._monitor.unlink(missing_ok=True)
        config = {
            "argv": qemu.command(spec, self.folder, accelerator),
            "placeholder": qemu.TAP,
            "namespace": str(network.NAMESPACES / network.lab_namespace(self.lab)),
            "bridge": network.BRIDGE,
            "tap": spec.tap,
            "accelerator": accelerator.kind,
        }
        write_atomically(self.folder / "launch.json", json.dumps(config, indent=1) + "\n", 0o600)
        self._launch()
        return True

    def _launch(self) -> None:
        launcher = Path(__file__).with_name("machine_launch.py")
        with (self.folder / "qemu.log").open("w") as log:
            child = subprocess.Popen(
                [sys.executable, "-I", "-S", str(launcher), str(self.folder)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/",
            )  # fmt: skip
        # Where we live on while the machine is switched off: no zombie.
        threading.Thread(target=child.wait, daemon=True).start()
        wait_until(lambda: child.poll() is not None or self._answers(), START_SECONDS)
        if child.poll() is not None or not self._answers():
            self.cut()
            said = (self.folder / "qemu.log").read_text(errors="replace").strip().splitlines()[-3:]
            raise LabError(f"machine {self.name} did not start: {' / '.join(said) or 'QEMU said nothing'}")

    def _comes_up(self) -> bool:
        """Wait until QEMU answers: another run may just have started it."""
        wait_until(lambda: not self.running() or self._answers(), START_SECONDS)
        return self.running() and self._answers()

    def _answers(self) -> bool:
        try:
            qemu_qmp.ask(self._monitor, "query-status")
        except (OSError, ValueError):
            return False
        return True

    def _plugged_in(self) -> bool:
        """Say whether it runs, and in the network that is the lab's now."""
        process = self.process
        namespace = network.lab_namespace(self.lab)
        if process is None or not network.exists(namespace):
            return False
        try:
            own = Path(f"/proc/{process.pid}/ns/net").stat().st_ino
        except FileNotFoundError:
            return False
        return own == (network.NAMESPACES / namespace).stat().st_ino

    # Switching off

    def power_off(self, patience: float = PATIENCE) -> None:
        """Press the button; who does not hear it for `patience` seconds is switched off."""
        for command, seconds in (("system_powerdown", patience), ("quit", 10)):
            if not self.running():
                break
            try:
                qemu_qmp.ask(self._monitor, command)
            except (OSError, ValueError):  # it has just ended, or hangs
                continue
            if wait_until(lambda: not self.running(), seconds):
                break
        self.cut()

    def cut(self) -> None:
        """Pull the plug, and wait until nothing of it runs."""

        def gone() -> bool:
            if process := self.process:
                try:
                    os.kill(process.pid, 9)
                except ProcessLookupError:
                    return True
                return False
            return self._lock_is_free()

        if not wait_until(gone, 15, pause=0.01):
            raise LabError(f"machine {self.name}: its QEMU does not die; see {self.folder / 'run.json'}")
        (self.folder / "run.json").unlink(missing_ok=True)

    def _lock_is_free(self) -> bool:
        """A launcher that was just begun holds the lock a moment before it has written itself down."""
        try:
            lock = os.open(self.folder / "run.lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(lock)
        return True

    def wipe(self) -> None:
        """Remove the machine with its disk."""
        self.cut()
        try:
            folders.remove(self.folder)
        except OSError:  # a launcher of a killed run put files there meanwhile
            self.cut()
            folders.remove(self.folder)

    def summary(self) -> dict[str, object]:
        """What `status` and `list` tell."""
        spec = self.spec
        about: dict[str, object] = dict(spec.to_dict()) if spec else {"name": self.name}
        return {
            **about,
            "state": self.state(),
            "accelerator": self.accelerator(),
            "serial_log": str(self.serial_log),
        }
