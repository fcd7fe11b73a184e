# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual machines with empty disks: they boot from the network, are cut, crash, and leave nothing behind.

The boot server is dnsmasq and a few lines of HTTP, both in the lab's network. The tests run in order.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from lab import Lab, network, paths, qemu_probe
from lab.host import problems
from lab.process import wait_until
from lab.spec import GATEWAY
from tests.e2e.needs import require_machines
from tests.figures import tell

pytestmark = pytest.mark.skipif(bool(os.geteuid() or problems()), reason="python -m lab check says why")

NAME = "vm"
CHECKOUT = Path(__file__).resolve().parents[2]
BIOS, UEFI = "disk-bios", "disk-uefi"
BOOT_SECONDS = 120
LOADER = Path("/usr/lib/ipxe/snponly.efi")


def cli(*words: str, expect: int = 0) -> str:
    """What `python -m lab machine …` prints for this lab."""
    done = subprocess.run(
        [sys.executable, "-m", "lab", "--lab", NAME, *words],
        cwd=CHECKOUT,
        text=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=300,
        check=False,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


def leftovers() -> list[str]:
    """What of the lab can still be seen on this computer."""
    home = paths.home()
    found = [str(path) for path in (*network.NAMESPACES.glob(f"ks-{NAME}*"), *home.glob(f"{NAME}*"))]
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:
            continue
        if f"{home}/{NAME}/" in words:
            found.append(f"process {folder.name}: {words}")
    return found


def ports(namespace: str | None = None) -> set[str]:
    """The interfaces of the lab's network, or of this computer's own."""
    where = ["-n", namespace] if namespace else []
    shown = subprocess.run(["ip", *where, "-json", "link"], check=True, capture_output=True, text=True).stdout
    return {link["ifname"] for link in json.loads(shown)}


@dataclass
class BootServer:
    """What machines ask, and when."""

    requests: list[tuple[float, str, str]] = field(default_factory=list)
    to_reset: set[str] = field(default_factory=set)
    """Paths that are answered once by a reset."""

    def answer(self, address: str, path: str) -> str | None:
        """The script for a request: the first leads to the machine's own, that one boots nothing."""
        path = unquote(path)
        self.requests.append((time.monotonic(), address, path))
        if path == "/boot.ipxe":
            return f"#!ipxe\nchain http://{GATEWAY}/boot/${{net0/mac}}.ipxe\n"
        if path in self.to_reset:
            self.to_reset.remove(path)
            return "#!ipxe\nreboot\n"
        if path.startswith("/boot/"):
            return "#!ipxe\necho nothing to boot for ${net0/mac} by ${platform}\nsleep 3600\n"
        return None

    def wait_for(self, mac: str, ip: str, since: float) -> float:
        """Wait until a machine asks for its own script; return how many seconds after `since`."""

        def asked() -> list[float]:
            wanted = (ip, f"/boot/{mac}.ipxe")
            return [at for at, *request in list(self.requests) if at >= since and tuple(request) == wanted]

        assert wait_until(lambda: bool(asked()), BOOT_SECONDS), f"{mac} did not ask; seen: {self.requests}"
        return asked()[0] - since


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    dnsmasq = [] if shutil.which("dnsmasq") else ["dnsmasq-base"]
    require_machines(*dnsmasq, *([] if LOADER.exists() else ["ipxe"]))
    one = Lab(NAME, say=print)
    one.down()
    before = ports()
    one.network_up()
    yield one
    one.down()
    assert ports() == before


SETTINGS = """
port=0
interface=br0
bind-interfaces
except-interface=lo
user=root
dhcp-leasefile={folder}/leases
pid-file={folder}/dnsmasq.pid
dhcp-range=10.77.0.200,10.77.0.209,255.255.255.0,10m
enable-tftp
tftp-root={folder}/tftp
dhcp-match=set:ipxe,175
dhcp-match=set:efi64,option:client-arch,7
dhcp-match=set:efi64,option:client-arch,9
dhcp-boot=tag:ipxe,http://10.77.0.1/boot.ipxe
dhcp-boot=tag:!ipxe,tag:efi64,snponly.efi
# Who answers IPv6's question for a router spares iPXE the wait for it; no route is announced.
enable-ra
dhcp-range=fd77::,ra-only,64,10m
ra-param=br0,0,0
"""


@pytest.fixture(scope="module")
def server(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BootServer]:
    folder = tmp_path_factory.mktemp("boot")
    (folder / "tftp").mkdir()
    shutil.copy(LOADER, folder / "tftp")
    lab.network_up()
    cli("machine", "make", BIOS, "--disk", "512M", "--memory", "512")
    cli("machine", "make", UEFI, "--disk", "512M", "--memory", "512", "--firmware", "uefi")
    hosts = "".join(f"dhcp-host={spec.mac},{spec.ip},{spec.name}\n" for spec in lab.machines.specs())
    (folder / "dnsmasq.conf").write_text(SETTINGS.format(folder=folder) + hosts)
    bridge = ["ip", "-n", lab.namespace, "address", "add", "fd77::1/64", "dev", "br0", "nodad"]
    subprocess.run(bridge, check=True)

    known = BootServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = known.answer(self.client_address[0], self.path)
            self.send_response(404 if text is None else 200)
            self.send_header("Content-Length", str(len(text or "")))
            self.end_headers()
            self.wfile.write((text or "").encode())

        def log_message(self, *_: object) -> None:
            """The requests are kept, that is enough."""

    web = network.inside(lab.namespace, lambda: ThreadingHTTPServer((GATEWAY, 80), Handler))
    threading.Thread(target=web.serve_forever, daemon=True).start()
    with (folder / "dnsmasq.log").open("w") as log:
        dnsmasq = subprocess.Popen(
            lab.network_argv(["dnsmasq", "--keep-in-foreground", f"--conf-file={folder / 'dnsmasq.conf'}"]),
            stdout=log,
            stderr=log,
        )
    yield known
    dnsmasq.terminate()
    dnsmasq.wait(10)
    web.shutdown()
    web.server_close()


def table(lab: Lab) -> dict[str, dict[str, Any]]:
    """`lab status --json` about the virtual machines, by name; `machine list` says the same."""
    found: list[dict[str, Any]] = json.loads(cli("status", "--json"))["virtual_machines"]
    listed = json.loads(cli("machine", "list", "--json"))
    assert [{**one, "lifecycle": None} for one in listed] == found, "there is no State API to ask"
    assert {one["name"] for one in found} == {machine.name for machine in lab.machines.all()}
    return {one["name"]: one for one in found}


def is_empty(disk: Path) -> bool:
    with disk.open("rb") as stream:
        return not any(block.strip(b"\0") for block in iter(lambda: stream.read(1 << 24), b""))


def says(name: str, words: str) -> bool:
    return words in cli("machine", "log", name)


def asks(lab: Lab, server: BootServer, *names: str) -> str:
    """Switch machines on and wait until each has asked; return what was said."""
    since = time.monotonic()
    said = cli("machine", "up", *names)
    for name in names:
        spec = lab.machines.known(name).spec
        assert spec
        tell(f"{name}: {server.wait_for(spec.mac, spec.ip, since):.1f} s from power-on to its boot script")
    return said


@pytest.mark.usefixtures("lab")
def test_the_probe_tells_what_works() -> None:
    assert qemu_probe.try_to_boot("tcg", "max") == "", "emulation always boots the probe"
    assert qemu_probe.try_to_boot("no-such-thing", "max")


def test_empty_machines_ask_for_their_scripts(lab: Lab, server: BootServer) -> None:
    assert {one["state"] for one in table(lab).values()} == {"off"}
    said = asks(lab, server, BIOS, UEFI)
    assert f"switched on: {BIOS} {UEFI}" in said
    accelerator = lab.machines.accelerator()
    assert str(accelerator) in said
    for name, platform in ((BIOS, "pcbios"), (UEFI, "efi")):
        about = table(lab)[name]
        assert (about["state"], about["accelerator"]) == ("running", accelerator.kind)
        words = f"nothing to boot for {about['mac']} by {platform}"
        machine = lab.machines.known(name)
        assert wait_until(partial(says, name, words), 30)
        assert is_empty(machine.disk)
        assert machine.disk.stat().st_size == 512 << 20
    assert BIOS in cli("status")


def test_again_nothing_happens(lab: Lab) -> None:
    before = [lab.machines.known(name).process for name in (BIOS, UEFI)]
    assert None not in before
    assert "all machines were on" in cli("machine", "up", BIOS, UEFI)
    assert [lab.machines.known(name).process for name in (BIOS, UEFI)] == before
    assert "machine off" in cli("machine", "up", BIOS, "--memory", "700", expect=2)


def test_a_cut_machine_is_off_and_boots_again(lab: Lab, server: BootServer) -> None:
    machine = lab.machines.known(BIOS)
    assert machine.spec
    assert machine.spec.tap in ports(lab.namespace)
    cli("machine", "cut", BIOS)
    assert machine.state() == "off"
    assert machine.spec.tap not in ports(lab.namespace)
    assert lab.machines.known(UEFI).running()
    asks(lab, server, BIOS)
    assert is_empty(machine.disk)


def test_a_machine_that_hears_no_button_is_switched_off(lab: Lab) -> None:
    cli("machine", "off", UEFI, "--patience", "1")
    assert lab.machines.known(UEFI).state() == "off"
    assert "off" in cli("machine", "console", UEFI, expect=2)


def test_a_machine_whose_qemu_was_killed_boots_again(lab: Lab, server: BootServer) -> None:
    process = lab.machines.known(BIOS).process
    assert process
    os.kill(process.pid, signal.SIGKILL)
    assert wait_until(lambda: table(lab)[BIOS]["state"] == "off", 10)
    asks(lab, server, BIOS, UEFI)


def test_a_machine_that_resets_itself_boots_again(lab: Lab, server: BootServer) -> None:
    machine = lab.machines.known(BIOS)
    assert machine.spec
    path = f"/boot/{machine.spec.mac}.ipxe"
    server.to_reset.add(path)
    cli("machine", "cut", BIOS)
    asks(lab, server, BIOS)
    before = machine.process
    since = time.monotonic()
    assert not server.to_reset, "it was told to reset"
    server.wait_for(machine.spec.mac, machine.spec.ip, since)
    assert machine.process == before
    assert machine.state() == "running"
    assert machine.serial_log.read_bytes().count(b"SeaBIOS") == 2


def test_a_node_and_a_machine_do_not_meet(lab: Lab) -> None:
    spec = lab.machines.known(BIOS).spec
    assert spec
    assert "same name" in cli("nodes", "up", f"{BIOS}:debian-12:10.77.0.31", expect=2)
    assert "same ip" in cli("machine", "make", "third", "--ip", spec.ip, expect=2)
    assert "wipe it first" in cli("machine", "up", UEFI, "--firmware", "bios", expect=2)


def test_what_was_written_outlives_a_cut_and_goes_with_a_wipe(lab: Lab) -> None:
    machine = lab.machines.known(UEFI)
    cli("machine", "cut", UEFI)
    with machine.disk.open("r+b") as disk:
        disk.write(b"installed")
    cli("machine", "up", UEFI)
    assert not is_empty(machine.disk)
    cli("machine", "wipe", UEFI)
    assert not machine.folder.exists()
    assert table(lab).keys() == {BIOS}


def test_a_machine_without_its_network_is_put_into_the_new_one(lab: Lab) -> None:
    before = lab.machines.known(BIOS).process
    subprocess.run(["ip", "netns", "del", lab.namespace], check=True)
    cli("machine", "up", BIOS)
    machine = lab.machines.known(BIOS)
    assert before
    assert not before.alive()
    assert machine.running()
    assert machine.spec
    assert machine.spec.tap in ports(lab.namespace)


@pytest.mark.parametrize("moment", ["machine.json", "launch.json", "run.lock", "run.json", "qmp.sock"])
def test_down_after_the_lab_was_killed(lab: Lab, moment: str) -> None:
    lab.network_up()
    reached: Callable[[], bool] = (lab.machines.get("third").folder / moment).exists
    with subprocess.Popen(
        [sys.executable, "-m", "lab", "--lab", NAME, "machine", "up", "third", "fourth", "--memory", "256"],
        cwd=CHECKOUT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as run:
        assert wait_until(reached, 60, pause=0.001)
        run.kill()
    cli("down")
    assert leftovers() == []


def test_up_after_the_lab_was_killed_then_down(lab: Lab) -> None:
    third = lab.machines.get("third")
    with subprocess.Popen(
        [sys.executable, "-m", "lab", "--lab", NAME, "machine", "up", "third"],
        cwd=CHECKOUT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as run:
        assert wait_until((third.folder / "run.lock").exists, 60, pause=0.001)
        run.kill()
    cli("machine", "up", "third")
    assert third.running()
    (third.folder / "machine.json").unlink()
    assert third.state() == "unfinished"
    assert third.running()
    cli("down")
    assert leftovers() == []
    cli("down")
