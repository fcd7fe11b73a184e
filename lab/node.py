# SPDX-License-Identifier: GPL-3.0-or-later
"""One node: an overlay clone of a base, booted by systemd-nspawn in namespaces and cgroups of its own."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import threading
import uuid
from pathlib import Path
from typing import Any

from kubestead.model.atomic import write_atomically
from lab import apt, base, cgroups, folders, host, network
from lab.errors import InputError, LabError
from lab.process import Process, run, wait_until
from lab.spec import GATEWAY, SUITES, NodeSpec

APT_PROXY = f"http://{GATEWAY}:3142"
# On the disk itself: containerd and CRI-O cannot lay an overlay over an overlay, and etcd wants its fsync.
_OWN_DISK = ("containerd", "containers", "kubelet", "etcd")
_FILES = Path(__file__).with_name("files")


class Node:
    """A node of a lab; its folder on disk says what exists."""

    def __init__(self, lab: str, lab_folder: Path, name: str) -> None:
        self.lab = lab
        self.name = name
        self.lab_folder = lab_folder
        self.folder = lab_folder / "nodes" / name
        self.namespace = network.node_namespace(lab, name)
        self.unit = f"{self.namespace}.service"
        self.groups = cgroups.Groups(self.namespace)
        self.with_systemd = cgroups.mode() is cgroups.Mode.SYSTEMD

    # What is there

    @property
    def spec(self) -> NodeSpec | None:
        """Return what the node was made as; None when it was never made to the end."""
        try:
            return NodeSpec.from_dict(json.loads((self.folder / "node.json").read_text()))
        except (OSError, ValueError, KeyError):
            return None

    def running(self) -> bool:
        """Say whether the node's machinery runs."""
        if self.with_systemd:
            return run_quietly(["systemctl", "is-active", "--quiet", self.unit])
        process = Process.load(self.folder / "run.json")
        return bool(process and process.alive())

    def state(self) -> str:
        """Return `running`, `stopped` or `unfinished`."""
        if self.spec is None:
            return "unfinished"
        return "running" if self.running() else "stopped"

    # Making and starting

    def make(self, spec: NodeSpec, public_key: str) -> None:
        """Make the node's folder, or finish one that was left half-made."""
        known = self.spec
        if known == spec:
            return
        if known and known.os != spec.os:
            raise InputError(
                f"node {self.name} was made as {known.os}, now {spec.os} is asked for; wipe it first: "
                f"python -m lab --lab {self.lab} node wipe {self.name}"
            )
        if known:  # another address or MAC: the same disk in another network
            self.stop()
            network.remove(self.namespace)
        else:
            folders.remove(self.folder)
            self._make_disk(spec, public_key)
        self._put("etc/hosts", f"127.0.0.1 localhost\n{spec.ip} {spec.name}\n\n::1 localhost ip6-localhost\n")
        image = Path(self._base()) if known else base.path_of(spec.os)
        record = {**spec.to_dict(), "base": str(image), "base_made": base.made(image)}
        write_atomically(self.folder / "node.json", json.dumps(record, indent=1) + "\n")

    def _make_disk(self, spec: NodeSpec, public_key: str) -> None:
        for part in ("upper", "work", "root", "log", *(f"data/{name}" for name in _OWN_DISK)):
            (self.folder / part).mkdir(parents=True)
        self.folder.chmod(0o700)
        self._lower = base.path_of(spec.os)
        self._put("etc/hostname", f"{spec.name}\n")
        self._put("etc/machine-id", f"{uuid.uuid4().hex}\n", 0o444)
        self._put("etc/resolv.conf", f"nameserver {GATEWAY}\noptions timeout:1 attempts:1\n")
        self._put("root/.ssh/authorized_keys", public_key, 0o600)
        (self.folder / "upper/root/.ssh").chmod(0o700)
        key = self.folder / "upper/etc/ssh/ssh_host_ed25519_key"
        self._put("etc/ssh/.keep", "").unlink()
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", spec.name, "-f", str(key)])
        self._put("etc/apt/sources.list", "")
        self._put("etc/apt/sources.list.d/debian.sources", _deb822(spec))
        self._put("etc/apt/apt.conf.d/90kubestead-lab", _apt_settings())

    def _record(self) -> dict[str, Any]:
        record: dict[str, Any] = json.loads((self.folder / "node.json").read_text())
        return record

    def _base(self) -> str:
        return str(self._record()["base"])

    def _check_base(self) -> None:
        """A disk is only what differs from its base: over another base it is rubble."""
        record = self._record()
        if base.made(Path(record["base"])) != record["base_made"]:
            raise InputError(
                f"node {self.name}: its base {record['base']} was removed or made anew since; wipe the node: "
                f"python -m lab --lab {self.lab} node wipe {self.name}"
            )

    def host_key(self) -> str:
        """Return the node's line of known_hosts."""
        spec = self.spec
        if spec is None:
            return ""
        kind, key = (self.folder / "upper/etc/ssh/ssh_host_ed25519_key.pub").read_text().split()[:2]
        return f"{spec.ip},{spec.name} {kind} {key}\n"

    def start(self) -> None:
        """Start the node unless it runs; where it runs, mend its network."""
        spec = self.spec
        if spec is None:
            raise InputError(f"node {self.name} does not exist in lab {self.lab}")
        if self.running() and network.exists(self.namespace):
            network.ensure_node(self.lab, spec)
            return
        self._check_base()
        self.cut()  # what a killed supervisor may have left
        network.ensure_node(self.lab, spec)
        self._put_plumbing()
        config = self._launch_config(spec)
        write_atomically(self.folder / "launch.json", json.dumps(config, indent=1) + "\n", 0o600)
        launcher = [sys.executable, "-I", "-S", str(Path(__file__).with_name("launch.py"))]
        if self.with_systemd:
            self._start_unit([*launcher, "exec", str(self.folder / "launch.json")])
            return
        self.groups.make()
        with (self.folder / "log/supervisor.log").open("w") as log:
            supervisor = subprocess.Popen(
                [*launcher, "supervise", str(self.folder / "launch.json")],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/",
            )  # fmt: skip
        _reap_later(supervisor)
        if not wait_until(lambda: self.running() or supervisor.poll() is not None, 30, pause=0.005):
            raise LabError(f"node {self.name}: its supervisor, process {supervisor.pid}, does not begin")

    def _start_unit(self, argv: list[str]) -> None:
        run_quietly(["systemctl", "reset-failed", self.unit])
        properties = ("Delegate=yes", "TasksMax=infinity", "KillMode=mixed", "RestartForceExitStatus=133",
                      "SuccessExitStatus=133", "TimeoutStopSec=40", "OOMPolicy=continue",
                      "LimitNOFILE=1048576")  # fmt: skip
        run(["systemd-run", "--quiet", "--collect", f"--unit={self.unit}",
             f"--slice={cgroups.slice_of(self.lab)}",
             f"--description=Kubestead lab {self.lab}: node {self.name}",
             *(f"--property={one}" for one in properties), "--", *argv])  # fmt: skip

    def _launch_config(self, spec: NodeSpec) -> dict[str, object]:
        devices = [d for d in ("/dev/kmsg", "/dev/fuse", "/dev/net/tun") if Path(d).exists()]
        argv = [
            "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot", f"--machine={self.name}",
            f"--directory={self.folder / 'root'}", f"--network-namespace-path=/run/netns/{self.namespace}",
            # The clock and the kernel's modules are this computer's: no node may change them.
            "--capability=all", "--drop-capability=CAP_SYS_TIME,CAP_SYS_MODULE",
            "--system-call-filter=@system-service @known", "--kill-signal=SIGRTMIN+4",
            *(f"--bind={device}" for device in devices),
            "--bind-ro=/sys/module",  # beside /proc/modules, which is this computer's: lsmod reads both
            *(f"--bind={self.folder / 'data' / name}:/var/lib/{name}" for name in _OWN_DISK),
            "--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=read-only",
        ]  # fmt: skip
        if cgroups.mode() is cgroups.Mode.BARE_V1 and spec.os != "debian-12":
            argv.append("SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1")  # systemd 256 and newer refuse v1 otherwise
        return {
            "argv": argv,
            # `network`, not all: with all of it writable a node would write this computer's own sysctls.
            "env": {"SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network", "SYSTEMD_NSPAWN_USE_CGNS": "1"},
            "cgroups": [] if self.with_systemd else [str(folder) for folder in self.groups.folders],
            "lower": self._base(),
            "upper": str(self.folder / "upper"),
            "work": str(self.folder / "work"),
            "root": str(self.folder / "root"),
            "console": str(self.folder / "log/console.log"),
        }

    def _put_plumbing(self) -> None:
        """Put in what a real machine has and a container has not; see files/node-plumbing."""
        self._put("usr/local/lib/kubestead/node-plumbing", (_FILES / "node-plumbing").read_text(), 0o755)
        self._put("etc/systemd/system/kubestead-lab.service", (_FILES / "kubestead-lab.service").read_text())
        wanted = self.folder / "upper/etc/systemd/system/sysinit.target.wants/kubestead-lab.service"
        if not wanted.is_symlink():
            self._put("etc/systemd/system/sysinit.target.wants/.keep", "").unlink()
            wanted.symlink_to("/etc/systemd/system/kubestead-lab.service")
        modules = f"usr/lib/modules/{platform.release()}"
        self._put(
            f"{modules}/modules.builtin", "".join(f"kernel/{name}.ko\n" for name in host.kernel_modules())
        )
        self._put(f"{modules}/modules.order", "")

    # Stopping

    def stop(self, patience: float = 40) -> None:
        """Shut the node down in order; cut it off if it does not."""
        if self.with_systemd:
            run_quietly(["systemctl", "stop", self.unit])
        elif (process := Process.load(self.folder / "run.json")) and process.alive():
            os.kill(process.pid, 15)
            wait_until(lambda: not process.alive(), patience)
        self.cut()

    def cut(self) -> None:
        """End the node as a lost power supply would, and clear what it ran in."""
        if self.with_systemd:
            run_quietly(["systemctl", "kill", "--signal=KILL", self.unit])
            run_quietly(["systemctl", "stop", self.unit])
            return
        if (process := Process.load(self.folder / "run.json")) and not process.end(0):
            process.end()
        (self.folder / "run.json").unlink(missing_ok=True)
        if not self.groups.kill():
            raise LabError(f"node {self.name}: processes {sorted(self.groups.pids())} do not die")
        if not self.groups.remove():
            raise LabError(f"node {self.name}: cgroup {self.groups.folders[0]} cannot be removed")

    def wipe(self) -> None:
        """Remove the node and all it had."""
        self.cut()
        network.remove(self.namespace)
        folders.remove(self.folder)

    def console(self, lines: int = 15) -> str:
        """Return the end of what the node said while it booted."""
        if self.with_systemd:
            return run(["journalctl", "--no-pager", f"--lines={lines}", f"--unit={self.unit}"])
        texts = []
        for name in ("supervisor.log", "console.log"):
            path = self.folder / "log" / name
            texts += path.read_text(errors="replace").splitlines()[-lines:] if path.is_file() else []
        return "\n".join(texts[-lines:])

    def _put(self, path: str, text: str, mode: int = 0o644) -> Path:
        """Write a file of the node while it is off; new folders get the mode of the base's."""
        target = self.folder / "upper" / path
        lower = getattr(self, "_lower", None) or Path(self._base())
        for parent in list(Path(path).parents)[-2::-1]:
            folder = self.folder / "upper" / parent
            if not folder.exists():
                folder.mkdir()
                below = lower / parent
                folder.chmod(below.stat().st_mode & 0o7777 if below.is_dir() else 0o755)
        write_atomically(target, text, mode)
        return target


def run_quietly(argv: list[str]) -> bool:
    """Run a program whose failure is an answer."""
    return subprocess.run(argv, check=False, capture_output=True).returncode == 0


def _reap_later(child: subprocess.Popen[bytes]) -> None:
    """Keep a process that outlives us from being a zombie while we still run."""
    threading.Thread(target=child.wait, daemon=True).start()


def _deb822(spec: NodeSpec) -> str:
    entries = []
    for source in apt.sources_for(SUITES[spec.os]):
        options = "".join(f"{key.title()}: {value}\n" for key, value in source.options.items())
        entries.append(f"Types: deb\nURIs: {source.uri}\nSuites: {source.suite}\nComponents: main\n{options}")
    return "\n".join(entries)


def _apt_settings() -> str:
    values = {
        "Acquire::Languages": "none",
        "Acquire::http::Proxy": APT_PROXY,
        "Acquire::https::Proxy": APT_PROXY,
        f"Acquire::http::Proxy::{GATEWAY}": "DIRECT",
        **apt.settings(),
    }
    return "".join(f'{key} "{value}";\n' for key, value in values.items())
