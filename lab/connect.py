# SPDX-License-Identifier: GPL-3.0-or-later
"""Connect to an address in a network namespace and hand the connection to ssh.

    connect.py NAMESPACE ADDRESS PORT

As ssh's ProxyCommand with ProxyUseFdpass: ssh gets the socket itself, nothing stays in between. So ssh, and
what uses it, reaches nodes from this computer's own network. Run by a bare interpreter (`python -I -S`).
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys


def main() -> int:
    """Do what the arguments say."""
    namespace, address, port = sys.argv[1:]
    descriptor = os.open(namespace, os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, 0x40000000):
        print(f"{namespace}: {os.strerror(ctypes.get_errno())}", file=sys.stderr)
        return 1
    try:
        connection = socket.create_connection((address, int(port)), timeout=10)
    except OSError as error:
        print(f"{address}:{port}: {error}", file=sys.stderr)
        return 1
    connection.setblocking(True)
    with connection, socket.socket(fileno=1) as ssh:
        socket.send_fds(ssh, [b"\0"], [connection.fileno()])
    return 0


if __name__ == "__main__":
    sys.exit(main())
