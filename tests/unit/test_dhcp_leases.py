# SPDX-License-Identifier: GPL-3.0-or-later
"""What the DHCP servers keep of the addresses that they have handed out."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from pathlib import Path

import pytest

from kubestead.dhcp.leases import Lease, read_leases

NOW = int(time.time())
SOON, LATER, PAST = NOW + 600, NOW + 1200, NOW - 600


def at(seconds: int) -> str:
    """A time as a lease has it."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")


EARLIER = Lease("10.0.0.200", "52:54:00:77:00:40", "", at(SOON))
LAST = Lease("10.0.0.11", "52:54:00:77:00:11", "cp-1", at(LATER))

DNSMASQ = f"""\
{SOON} 52:54:00:77:00:40 10.0.0.200 * 01:52:54:00:77:00:40
{LATER} 52:54:00:77:00:11 10.0.0.11 cp-1 01:52:54:00:77:00:11
{PAST} 52:54:00:77:00:12 10.0.0.12 cp-2 *
duid 00:01:00:01:2f
"""

KEA = f"""\
address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context,pool_id
10.0.0.11,52:54:00:77:00:11,,600,{PAST},1,0,0,cp-1,0,,0
10.0.0.200,52:54:00:77:00:40,,600,{SOON},1,0,0,,0,,0
10.0.0.11,52:54:00:77:00:11,,1200,{LATER},1,0,0,cp-1.,0,,0
10.0.0.201,52:54:00:77:00:41,,600,{SOON},1,0,0,,0,,0
10.0.0.201,52:54:00:77:00:41,,0,{SOON},1,0,0,,0,,0
10.0.0.202,,,600,{SOON},1,0,0,,1,,0
"""


def isc_time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%w %Y/%m/%d %H:%M:%S")


ISC = f"""\
# The format of this file is documented in the dhcpd.leases(5) manual page.
authoring-byte-order little-endian;

lease 10.0.0.200 {{
  starts {isc_time(NOW)};
  ends {isc_time(SOON)};
  binding state active;
  next binding state free;
  hardware ethernet 52:54:00:77:00:40;
  uid "\\001RT";
}}
lease 10.0.0.11 {{
  ends {isc_time(SOON)};
  binding state free;
  hardware ethernet 52:54:00:77:00:11;
}}
lease 10.0.0.11 {{
  ends {isc_time(LATER)};
  binding state active;
  hardware ethernet 52:54:00:77:00:11;
  client-hostname "cp-1";
}}
lease 10.0.0.201 {{
  ends {isc_time(LATER)};
  binding state active;
  hardware ethernet 52:54:00:77:00:41;
}}
lease 10.0.0.201 {{
  ends {isc_time(LATER)};
  binding state free;
  hardware ethernet 52:54:00:77:00:41;
}}
"""


@pytest.mark.parametrize(("kind", "text"), [("dnsmasq", DNSMASQ), ("kea", KEA), ("isc", ISC)])
def test_those_that_run_the_last_first(tmp_path: Path, kind: str, text: str) -> None:
    file = tmp_path / "leases"
    assert read_leases(kind, file) == []
    file.write_text(text)
    assert read_leases(kind, file) == [LAST, EARLIER]


def test_what_never_ends_is_first(tmp_path: Path) -> None:
    file = tmp_path / "leases"
    file.write_text(DNSMASQ + "0 52:54:00:77:00:13 10.0.0.13 cp-3 *\n")
    assert read_leases("dnsmasq", file)[0] == Lease("10.0.0.13", "52:54:00:77:00:13", "cp-3", None)
    file.write_text("lease 10.0.0.13 {\n  ends never;\n  binding state active;\n}\n")
    assert read_leases("isc", file) == [Lease("10.0.0.13", "", "", None)]


def test_kea_while_it_cleans_up(tmp_path: Path) -> None:
    head, *rows = KEA.splitlines(keepends=True)
    (tmp_path / "leases.2").write_text(head + "".join(rows[:2]))
    (tmp_path / "leases").write_text(head + "".join(rows[2:]))
    assert read_leases("kea", tmp_path / "leases") == [LAST, EARLIER]


def test_half_a_line_is_no_lease(tmp_path: Path) -> None:
    file = tmp_path / "leases"
    for kind, text in (("dnsmasq", DNSMASQ), ("kea", KEA), ("isc", ISC)):
        for end in range(len(text)):
            file.write_text(text[:end])
            assert len(read_leases(kind, file)) <= 3, text[:end]
