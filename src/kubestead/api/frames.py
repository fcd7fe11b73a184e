# SPDX-License-Identifier: GPL-3.0-or-later
"""What is sent on an event stream, made and packed once for all viewers.

Packed as gzip a frame is a tenth as long, which a thousand viewers, or one by TLS on a telephone, are glad
of. Each frame is packed by itself, up to a boundary at which the packer forgets what came before: so the same
bytes fit behind whatever a viewer has received so far.
"""

from __future__ import annotations

import zlib
from functools import cached_property

# No name, no time, some system; what follows is raw deflate. The stream has no end, so nothing sums it up.
GZIP_BEGINNING = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_QUICKLY = 1


class Frame:
    """One piece of an event stream."""

    def __init__(self, text: str) -> None:
        """Make it of its text."""
        self.plain = text.encode()

    @cached_property
    def packed(self) -> bytes:
        """The same, as it goes on a stream that is packed."""
        packer = zlib.compressobj(_QUICKLY, zlib.DEFLATED, -zlib.MAX_WBITS)
        return packer.compress(self.plain) + packer.flush(zlib.Z_FULL_FLUSH)


def event(kind: str, number: int, data: str) -> Frame:
    """A server-sent event."""
    return Frame(f"event: {kind}\nid: {number}\ndata: {data}\n\n")


COMMENT = Frame(": still here\n\n")


def takes_gzip(accepted: str) -> bool:
    """Tell whether a client with this Accept-Encoding reads gzip."""
    for choice in accepted.lower().split(","):
        name, _, weight = choice.partition(";")
        if name.strip() == "gzip":
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
