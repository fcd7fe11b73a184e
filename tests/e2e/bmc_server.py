# SPDX-License-Identifier: GPL-3.0-or-later
"""A management controller for one of the lab's virtual machines: Redfish by sushy-tools, IPMI by pyghmi.

    python -m tests.e2e.bmc_server redfish|ipmi LAB MACHINE PORT FOLDER

It listens on loopback. The login is in FOLDER/login (USER:PASSWORD); FOLDER/journal gets a JSON line for each
thing that it was told to do, and the first when it is ready.
"""

from __future__ import annotations

import json
import logging
import ssl
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bcrypt
import flask
from pyghmi.ipmi.bmc import Bmc
from pyghmi.ipmi.private.serversession import ServerSession
from sushy_tools.emulator import main as emulator
from sushy_tools.emulator.resources.systems.base import AbstractSystemsDriver
from werkzeug.serving import make_server

from kubestead.pki import ensure
from lab import Lab
from lab.machine import Machine

# In a request to open a session of IPMI 2.0: where the algorithm of authentication is, and what it may be.
_ALGORITHM, _SHA1, _NO_SUCH_ALGORITHM = 12, 1, 4


class Journal:
    """What the controller was told."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "journal"

    def note(self, **what: Any) -> None:
        """Write it down."""
        with self._path.open("a") as stream:
            stream.write(json.dumps(what) + "\n")


class Power:
    """The machine's power, as both controllers switch it."""

    def __init__(self, lab: str, name: str) -> None:
        self._lab = Lab(lab)
        self.machine: Machine = self._lab.machines.known(name)

    @property
    def is_on(self) -> bool:
        """Whether the machine is on."""
        return self.machine.running()

    def on(self) -> None:
        """Switch it on."""
        self.machine.power_on(self._lab.machines.accelerator())

    def off(self) -> None:
        """Switch it off at once."""
        self.machine.cut()

    def reset(self) -> None:
        """Off and on."""
        self.off()
        self.on()


def redfish(power: Power, port: int, folder: Path, journal: Journal) -> None:
    """Serve Redfish by TLS, with a login."""
    identity = str(uuid.uuid5(uuid.NAMESPACE_OID, power.machine.name))

    class Driver(AbstractSystemsDriver):
        """The one machine."""

        driver = "<lab>"
        systems = (identity,)
        boot_device = "Hdd"
        boot_mode = "Legacy"

        def uuid(self, _identity: str) -> str:
            return identity

        def name(self, _identity: str) -> str:
            return power.machine.name

        def get_power_state(self, _identity: str) -> str:
            return "On" if power.is_on else "Off"

        def set_power_state(self, _identity: str, state: str) -> None:
            {"On": power.on, "ForceOn": power.on, "ForceOff": power.off, "ForceRestart": power.reset}[state]()

        def get_boot_device(self, _identity: str) -> str:
            return self.boot_device

        def set_boot_device(self, _identity: str, boot_source: str) -> None:
            self.boot_device = boot_source

        def get_boot_mode(self, _identity: str) -> str:
            return self.boot_mode

        def set_boot_mode(self, _identity: str, boot_mode: str) -> None:
            self.boot_mode = boot_mode

    user, _, password = (folder / "login").read_text().partition(":")
    digest = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
    (folder / "htpasswd").write_text(f"{user}:{digest}\n")
    emulator.Application.systems = Driver()
    app = emulator.app
    app.configure(extra_config={"SUSHY_EMULATOR_AUTH_FILE": str(folder / "htpasswd")})

    def note() -> None:
        if flask.request.method in ("PATCH", "POST"):
            journal.note(path=flask.request.path.rpartition("/")[2], body=flask.request.get_json(silent=True))

    app.before_request(note)
    ensure(folder / "pki", ["127.0.0.1"])
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "pki" / "server.crt", folder / "pki" / "server.key")
    server = make_server("127.0.0.1", port, app, ssl_context=tls, threaded=True)
    journal.note(ready=True)
    server.serve_forever()


def ipmi(power: Power, port: int, folder: Path, journal: Journal) -> None:
    """Serve IPMI 2.0, with a login."""

    # It answers at once, as a real one does: IPMI repeats what is not answered, be it a reset.
    hands = ThreadPoolExecutor(1)

    class Controller(Bmc):
        """The one machine."""

        device = "default"

        def get_power_state(self) -> str:
            return "on" if power.is_on else "off"

        def power_on(self) -> None:
            journal.note(power="on")
            hands.submit(power.on)

        def power_off(self) -> None:
            journal.note(power="off")
            hands.submit(power.off)

        def power_reset(self) -> None:
            journal.note(power="reset")
            hands.submit(power.reset)

        def get_boot_device(self) -> str:
            return self.device

        def set_boot_device(self, bootdevice: str) -> None:
            journal.note(boot=bootdevice)
            self.device = bootdevice

        def set_system_boot_options(self, request: Any, session: Any) -> None:
            if request["data"][0] == 5:
                journal.note(once=not request["data"][1] & 0b01000000)
            super().set_system_boot_options(request, session)

    accept = ServerSession.create_open_session_response

    def accept_sha1(session: Any, request: Any) -> Any:
        """It speaks cipher suite 3 only, but says so to nobody; a real controller refuses what it lacks."""
        if request[_ALGORITHM] != _SHA1:
            return bytearray([request[0], _NO_SUCH_ALGORITHM, 0, 0]) + bytearray(request[4:8])
        return accept(session, request)

    ServerSession.create_open_session_response = accept_sha1
    user, _, password = (folder / "login").read_text().partition(":")
    controller = Controller({user: password}, port=port, address="127.0.0.1")
    journal.note(ready=True)
    controller.listen()


def main() -> None:
    """Do what the arguments say."""
    kind, lab, machine, port, folder = sys.argv[1:]
    logging.basicConfig(level=logging.WARNING)
    place = Path(folder)
    {"redfish": redfish, "ipmi": ipmi}[kind](Power(lab, machine), int(port), place, Journal(place))


if __name__ == "__main__":
    main()
