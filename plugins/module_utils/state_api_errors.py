# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Why the State API did not do what was asked, in plain words."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import typing as t

_SHOWN = 300


class StateApiError(Exception):
    """The State API did not do what was asked. The text is a sentence for people and holds no token."""


class StateApiUnreachableError(StateApiError):
    """No answer: nothing listens there, the way is blocked, or TLS was refused. Trying again may help."""


class StateApiRefusedError(StateApiError):
    """An answer that says no.

    status: its HTTP status.
    detail: the API's own sentence, without address and status; empty where it gave none.
    answer: the decoded JSON body, which may say more (the claim that stands, the difference of a registry).
    """

    def __init__(self, message: str, status: int, detail: str = "", answer: t.Any = None) -> None:
        super().__init__(message)
        self.status = status
        self.detail = detail
        self.answer = answer

    @property
    def temporary(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status >= 500 or self.status == 429


def unreachable(url: str, error: BaseException) -> StateApiUnreachableError:
    """The error for a request that got no answer."""
    return StateApiUnreachableError(f"{url}: {_cause(error)}")


def refused(request: str, status: int, body: bytes) -> StateApiRefusedError:
    """The error for an answer that says no; `request` is its method and address."""
    answer, detail = _detail(body)
    name = http.client.responses.get(status, "")
    shown = detail[:_SHOWN]
    message = f"{request}: {status} {name}{': ' if shown else ''}{shown}"
    return StateApiRefusedError(message, status, detail, answer)


def _cause(error: BaseException) -> str:
    if isinstance(error, socket.timeout):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return "the host name is not known"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}); is the right CA file set?"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or error}); is it http rather than https?"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "the connection was closed without an answer" if not str(error) else str(error)


def _detail(body: bytes) -> t.Tuple[t.Any, str]:
    """The decoded body, and the reason in it: FastAPI's `detail`, else the first line of a text."""
    text = body.decode("utf-8", "replace").strip()
    try:
        answer = json.loads(text)
        detail = answer["detail"]
    except (ValueError, RecursionError):
        return None, text.splitlines()[0] if text and not text.startswith("<") else ""
    except (KeyError, TypeError, IndexError):
        return answer, ""
    if isinstance(detail, list):
        detail = "; ".join(
            f"{'.'.join(str(part) for part in item.get('loc', []))}: {item.get('msg', '')}"
            for item in detail
            if isinstance(item, dict)
        )
    return answer, str(detail)
