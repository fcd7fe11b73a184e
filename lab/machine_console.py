# SPDX-License-Identifier: GPL-3.0-or-later
"""A terminal on a virtual machine's serial port."""

from __future__ import annotations

import os
import select
import socket
import sys
import termios
import tty
from pathlib import Path

from lab.errors import InputError
from lab.qemu_qmp import connect

LEAVE = b"\x1d"
"""Ctrl-]"""


def attach(path: Path) -> None:
    """Connect this terminal until Ctrl-] is typed, the input ends, or the machine is switched off."""
    try:
        with connect(path) as connection:
            if not sys.stdin.isatty():
                _relay(connection, 0, 1)
                return
            before = termios.tcgetattr(0)
            tty.setraw(0)
            try:
                _relay(connection, 0, 1)
            finally:
                termios.tcsetattr(0, termios.TCSADRAIN, before)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise InputError(
            "the machine is off: it has no console now; its last words are in its log"
        ) from error


def _relay(connection: socket.socket, reading: int, writing: int) -> None:
    while True:
        ready, _, _ = select.select([reading, connection.fileno()], [], [])
        if connection.fileno() in ready:
            try:
                said = connection.recv(1 << 16)
            except ConnectionResetError:
                return
            if not said:
                return
            os.write(writing, said)
        if reading in ready:
            typed = os.read(reading, 1 << 12)
            if not typed or LEAVE in typed:
                return
            connection.sendall(typed)
