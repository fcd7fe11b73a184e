# SPDX-License-Identifier: GPL-3.0-or-later
"""DHCP as firmware speaks it: what is asked, and how offers are read."""

from __future__ import annotations

import struct

import pytest

from kubestead.model.dhcp import Question, discover, read_offer

MAC = "52:54:00:77:00:11"
XID = b"\x01\x02\x03\x04"
OFFERED = [(53, b"\x02"), (54, bytes([10, 0, 0, 10])), (51, struct.pack("!I", 600))]


def offer(
    options: list[tuple[int, bytes]],
    file: bytes = b"",
    name: bytes = b"",
    *,
    xid: bytes = XID,
    port: int = 68,
    kind: int = 2,
) -> bytes:
    """A frame as a server sends it."""
    message = struct.pack(
        "!BBBB4sHH4s4s4s4s16s64s128s4s", kind, 1, 6, 0, xid, 0, 0x8000, bytes(4), bytes([10, 0, 0, 200]),
        bytes([10, 0, 0, 9]), bytes(4), bytes.fromhex(MAC.replace(":", "")), name, file, b"\x63\x82\x53\x63",
    )  # fmt: skip
    message += b"\0" + b"".join(bytes([code, len(value)]) + value for code, value in options) + b"\xff"
    udp = struct.pack("!HHHH", 67, port, 8 + len(message), 0) + message
    ip = struct.pack(
        "!BBHHHBBH4s4s", 0x46, 0, 24 + len(udp), 0, 0, 64, 17, 0, bytes([10, 0, 0, 10]), b"\xff" * 4
    )
    return b"\xff" * 6 + bytes.fromhex("525400000010") + b"\x08\x00" + ip + bytes(4) + udp


def options_of(frame: bytes) -> dict[int, bytes]:
    """The options that a question holds."""
    data, found = frame[14 + 20 + 8 + 240 :], {}
    while data[0] != 255:
        found[data[0]] = data[2 : 2 + data[1]]
        data = data[2 + data[1] :]
    return found


def test_a_plain_question() -> None:
    frame = discover(Question(MAC), XID)
    header = frame[14:34]
    assert frame[:12] == b"\xff" * 6 + bytes.fromhex("525400770011")
    assert sum(struct.unpack("!10H", header)) % 0xFFFF == 0  # the checksum is right
    assert struct.unpack("!H", header[2:4])[0] == len(frame) - 14
    assert frame[42 + 4 : 42 + 8] == XID
    assert frame[42 + 10] == 0x80  # to be answered to everyone
    assert not {60, 77, 93} & options_of(frame).keys()


@pytest.mark.parametrize(
    ("question", "vendor"),
    [
        (Question(MAC, 0), b"PXEClient:Arch:00000:UNDI:003001"),
        (Question(MAC, 16, "HTTPClient"), b"HTTPClient:Arch:00016:UNDI:003001"),
        (Question(MAC, 7, "Other"), b"Other"),
        (Question(MAC, None, "HTTPClient"), b"HTTPClient"),
    ],
)
def test_firmware_says_what_it_is(question: Question, vendor: bytes) -> None:
    said = options_of(discover(question, XID))
    assert said[60] == vendor
    assert (93 in said) is (question.arch is not None)


def test_ipxe_says_that_it_is() -> None:
    said = options_of(discover(Question(MAC, 7, user_class="iPXE"), XID))
    assert said[77] == b"iPXE"
    assert 175 in said


def test_an_offer_is_read() -> None:
    extra = [
        (1, bytes([255, 255, 255, 0])),
        (3, bytes([10, 0, 0, 1])),
        (6, bytes([10, 0, 0, 1, 9, 9, 9, 9])),
        (12, b"cp-1"),
    ]
    found = read_offer(offer([*OFFERED, *extra], b"undionly.kpxe"), XID, 7)
    assert found is not None
    assert (found.server, found.sender, found.sender_mac) == ("10.0.0.10", "10.0.0.10", "52:54:00:00:00:10")
    assert (found.address, found.next_server, found.file) == ("10.0.0.200", "10.0.0.9", "undionly.kpxe")
    assert (found.netmask, found.routers, found.dns) == (
        "255.255.255.0",
        ("10.0.0.1",),
        ("10.0.0.1", "9.9.9.9"),
    )
    assert (found.hostname, found.lease_seconds, found.milliseconds) == ("cp-1", 600, 7)
    assert found.to_dict()["routers"] == ["10.0.0.1"]


def test_the_file_may_come_as_an_option_or_in_overloaded_fields() -> None:
    by_option = read_offer(offer([*OFFERED, (67, b"snponly.efi\0")]), XID)
    overloaded = read_offer(
        offer([*OFFERED, (52, b"\x03")], bytes([67, 4]) + b"file\xff", bytes([66, 4]) + b"name\xff"), XID
    )
    assert by_option is not None
    assert by_option.file == "snponly.efi"
    assert overloaded is not None
    assert (overloaded.file, overloaded.server_name) == ("file", "name")


@pytest.mark.parametrize(
    "frame",
    [
        offer(OFFERED, xid=b"\x09\x09\x09\x09"),
        offer(OFFERED, port=67),
        offer(OFFERED, kind=1),
        offer([(53, b"\x05")]),
        offer([]),
        b"",
        b"\0" * 64,
        offer(OFFERED)[:100],
    ],
)
def test_what_is_no_answer_to_the_question_is_left_alone(frame: bytes) -> None:
    assert read_offer(frame, XID) is None


@pytest.mark.parametrize("length", range(280, 310))
def test_an_offer_that_is_cut_short_breaks_nothing(length: int) -> None:
    read_offer(offer([*OFFERED, (3, bytes([10, 0, 0, 1])), (52, b"")])[:length], XID)
