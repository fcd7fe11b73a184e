# SPDX-License-Identifier: GPL-3.0-or-later
"""A small server over TLS that stands for an API server: fake_api.py NAME CERTIFICATE KEY SICK_FILE.

/readyz is 200, or 500 while SICK_FILE is there; anything else is answered with the name.
"""

from __future__ import annotations

import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


def main(name: str, certificate: str, key: str, sick: str) -> None:
    """Serve at port 6443 of all addresses."""

    class Handler(BaseHTTPRequestHandler):
        """One request a connection."""

        def do_GET(self) -> None:
            """Answer."""
            well = self.path != "/readyz" or not Path(sick).exists()
            answer = f"{name}\n".encode()
            self.send_response(200 if well else 500)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_words: object) -> None:
            """Say nothing."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    class Server(ThreadingHTTPServer):
        """Greets each client in a thread of its own, so that a slow one holds up nobody."""

        def finish_request(self, request: Any, client_address: Any) -> None:
            """Begin with TLS; who does not is let go."""
            try:
                super().finish_request(context.wrap_socket(request, server_side=True), client_address)
            except OSError:
                return

    Server(("", 6443), Handler).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
