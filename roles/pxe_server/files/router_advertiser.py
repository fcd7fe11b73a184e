# SPDX-License-Identifier: GPL-3.0-or-later
# Managed by kubestead.homelab: role pxe_server
"""Tell machines that ask for an IPv6 router that there is none, so that iPXE does not wait for one.

The advertisement has no prefix, no route (its lifetime is 0) and no name server: nobody gets an address or a
way out by it. Where a real router advertises itself, nothing is said at all.
"""

from __future__ import annotations

import argparse
import errno
import socket
import struct
import sys
import time

SOLICITATION, ADVERTISEMENT = 133, 134
ICMP6_FILTER = 1  # of linux/icmpv6.h, as the socket module has no names for it
ALL_NODES, ALL_ROUTERS = "ff02::1", "ff02::2"
HOPS = 255  # who is not on the same network cannot send with so many
PATIENCE = 0.6  # routers answer within half a second
SILENCE = 1800.0  # and speak unasked at least this often
NO_ROUTER = struct.pack("!BBHBBHII", ADVERTISEMENT, 0, 0, 0, 0, 0, 0, 0)


class Decision:
    """When to answer, and whether at all."""

    def __init__(self) -> None:
        """Nobody has asked, and no router was heard."""
        self._answer_at: float | None = None
        self._silent_until = 0.0

    def heard(self, kind: int, hops: int, now: float) -> None:
        """Take note of a packet."""
        if hops != HOPS:
            return
        if kind == ADVERTISEMENT:
            self._silent_until, self._answer_at = now + SILENCE, None
        elif kind == SOLICITATION and self._answer_at is None and now >= self._silent_until:
            self._answer_at = now + PATIENCE

    def wait(self, now: float) -> float | None:
        """How many seconds until it is time to answer; None while there is nothing to answer."""
        return None if self._answer_at is None else max(0.0, self._answer_at - now)

    def answered(self) -> None:
        """The answer was sent: it is for all who have asked until now."""
        self._answer_at = None


def open_socket(interface: str) -> socket.socket:
    """A socket that hears solicitations and advertisements on that interface alone."""
    index = socket.if_nametoindex(interface)
    opened = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
    blocked = [0xFFFFFFFF] * 8
    for kind in (SOLICITATION, ADVERTISEMENT):
        blocked[kind >> 5] &= ~(1 << (kind & 31))
    opened.setsockopt(socket.IPPROTO_ICMPV6, ICMP6_FILTER, struct.pack("=8I", *blocked))
    opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
    opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, HOPS)
    opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
    opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    group = socket.inet_pton(socket.AF_INET6, ALL_ROUTERS) + struct.pack("@I", index)
    opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
    return opened


def hear(opened: socket.socket, decision: Decision) -> None:
    """Take one packet."""
    packet, ancillary, _flags, _sender = opened.recvmsg(2048, socket.CMSG_SPACE(4))
    hops = next(
        (
            struct.unpack("@i", data)[0]
            for level, kind, data in ancillary
            if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT)
        ),
        0,
    )
    if packet:
        decision.heard(packet[0], hops, time.monotonic())


def serve(opened: socket.socket, index: int) -> None:
    """Answer for ever."""
    decision = Decision()
    while True:
        left = decision.wait(time.monotonic())
        if left == 0:
            try:
                opened.sendto(NO_ROUTER, (ALL_NODES, 0, 0, index))
            except OSError as error:  # the link is down, or has no address yet: nobody hears us now
                if error.errno not in (errno.ENETDOWN, errno.EADDRNOTAVAIL, errno.ENETUNREACH):
                    raise
            decision.answered()
            continue
        opened.settimeout(left)
        try:
            hear(opened, decision)
        except TimeoutError:
            continue
        except OSError as error:
            if error.errno != errno.ENETDOWN:
                raise


def main() -> None:
    """Serve one interface."""
    parser = argparse.ArgumentParser(description="Tell machines that there is no IPv6 router.")
    parser.add_argument("interface")
    interface = parser.parse_args().interface
    try:
        opened = open_socket(interface)
    except OSError as error:
        sys.exit(f"{interface} cannot be listened on for IPv6: {error.strerror or error}")
    serve(opened, socket.if_nametoindex(interface))


if __name__ == "__main__":
    main()
