# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a registry file can hold: text in Unicode, finite numbers, lists and objects that end somewhere."""

from __future__ import annotations

import math
import typing as t

DEEPEST = 32  # levels of lists and objects below a machine's MAC
_DEEPER = DEEPEST + 10

_CONTAINERS = (dict, list)


def plain(value: t.Any, levels: int = _DEEPER) -> t.Any:
    """Copy values, as Ansible and other callers have them, into the plain types of JSON."""
    if isinstance(value, str):
        return str(value)
    if levels and isinstance(value, t.Mapping):
        return {plain(key): plain(inner, levels - 1) for key, inner in value.items()}
    if levels and isinstance(value, (list, tuple)):
        return [plain(inner, levels - 1) for inner in value]
    return value


def fits(value: t.Any, levels: int = DEEPEST) -> bool:
    """Tell whether a file can hold a value. Quick, since every value of every machine comes by here."""
    if not isinstance(value, _CONTAINERS):
        return _scalar_fits(value)
    if not levels:
        return False
    values: t.Iterable[t.Any] = value
    if isinstance(value, dict):
        for key in value:
            if not (isinstance(key, str) and (key.isascii() or _is_unicode(key))):
                return False
        # A mapping with a key more than once has all of its values there: they are shown.
        values = [pair[1] for pair in value.pairs] if hasattr(value, "pairs") else value.values()
    for one in values:
        if not (isinstance(one, str) and one.isascii()) and not fits(one, levels - 1):
            return False
    return True


def unfit(value: t.Any, path: t.Tuple[str, ...] = (), levels: int = DEEPEST) -> t.Optional[t.Tuple[str, str]]:
    """The first place where a value does not fit, and what is expected there; None when it does."""
    if not isinstance(value, _CONTAINERS):
        return None if _scalar_fits(value) else (".".join(path), _expected(value))
    if not levels:
        return ".".join(path), f"at most {DEEPEST} levels of lists and objects"
    pairs: t.Iterable[t.Tuple[t.Any, t.Any]] = ((None, inner) for inner in value)
    if isinstance(value, dict):
        pairs = getattr(value, "pairs", None) or value.items()
    for key, inner in pairs:
        below = path if key is None else (*path, str(key))
        if key is not None and not (isinstance(key, str) and _is_unicode(key)):
            return ".".join(below), "a key in Unicode"
        found = unfit(inner, below, levels - 1)
        if found:
            return found
    return None


def _scalar_fits(value: t.Any) -> bool:
    if isinstance(value, str):
        return value.isascii() or _is_unicode(value)
    return value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


def _is_unicode(text: str) -> bool:
    """Tell whether text can be written as UTF-8: it has no halves of surrogate pairs."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _expected(value: t.Any) -> str:
    if isinstance(value, float):
        return "a finite number"
    if isinstance(value, str):
        return "text in Unicode"
    return "text, a number, true, false, null, a list or an object"
