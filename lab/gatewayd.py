# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's own process; `lab.gateway` starts and stops it."""

from __future__ import annotations

import argparse
import json
import signal
import socketserver
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

from bundle.server import make_server
from lab import apt, network
from lab.forward import Forward
from lab.gateway import BUNDLE_PORT, PROXY_PORT
from lab.proxy import Proxy
from lab.spec import GATEWAY, SUITES


def serve(settings: dict[str, object]) -> None:
    """Be the gateway until told to end."""
    namespace = str(settings["namespace"])
    trusted = frozenset(
        urlsplit(source.uri).hostname or "" for suite in SUITES.values() for source in apt.sources_for(suite)
    )
    proxies = settings["proxies"] if isinstance(settings["proxies"], dict) else {}
    servers: list[socketserver.BaseServer] = []
    # A socket stays in the namespace that it was made in: listen inside, fetch from outside.
    bundle = Path(str(settings["bundle"]))
    servers.append(network.inside(namespace, lambda: make_server((GATEWAY, BUNDLE_PORT), bundle)))
    forwards = settings["forwards"]
    for port, address, target in forwards if isinstance(forwards, list) else []:
        servers.append(Forward(int(port), namespace, (str(address), int(target))))
    cache = Path(str(settings["apt_cache"]))
    # The last: who sees it answer may count on all of them.
    proxy = network.inside(namespace, lambda: Proxy((GATEWAY, PROXY_PORT), cache, proxies, trusted))
    servers.append(proxy)
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    proxy.store.tidy()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    stop.wait()


def main() -> int:
    """Run as a process of its own."""
    parser = argparse.ArgumentParser(prog="python -m lab.gatewayd")
    parser.add_argument("settings", type=Path)
    serve(json.loads(parser.parse_args().settings.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
