# SPDX-License-Identifier: GPL-3.0-or-later
"""`kubestead registry`: the registry that this computer keeps (in git), and the live one of the State API."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from kubestead.exit_codes import ExitCode
from kubestead.model.atomic import write_atomically
from kubestead.model.registry import Registry
from kubestead.model.registry_file import is_yaml, read_text
from kubestead.model.registry_lock import locked
from kubestead.model.registry_sync import (
    REFUSE,
    SAME,
    base_record,
    decide,
    fingerprint,
    remember_base,
)

from .command import command
from .errors import CliError
from .output import lines, note, print_json, show
from .session import Session

registry = typer.Typer(
    help="The registry file here, and the live one of the State API.", no_args_is_help=True
)

_FILE = Annotated[Path, typer.Argument(metavar="FILE", help="The registry here: JSON or YAML.")]
_HERE, _LIVE = "here", "live"


@dataclass(frozen=True)
class _Live:
    text: str | None
    condition: str
    path: str
    sha256: str | None
    pushed: str | None

    @classmethod
    def beside(cls, file: Path, session: Session) -> _Live:
        """The live registry, which is to be compared with `file`."""
        found = session.api.registry()
        if is_yaml(str(file)) != is_yaml(found["path"]):
            raise CliError(
                f"{file} and the live registry {found['path']} are not of one kind: one is YAML, one JSON",
                f"Keep {file} as the other kind: `kubestead machines export NEW-FILE --registry {file}`.",
                ExitCode.WRONG_INPUT,
            )
        if found["text"] is None and found["condition"] != "missing":
            raise CliError(
                "the token may not read the registry's text",
                "Take a token of scope operator (--token-file, KUBESTEAD_API_TOKEN_FILE).",
            )
        return cls(found["text"], found["condition"], found["path"], found["sha256"], found["pushed_sha256"])


@command(registry, "check", api=False)
def registry_check(session: Session, file: _FILE) -> None:
    """Check a registry file: all problems at once."""
    found = Registry.parse(_text(file), str(file))
    if session.json:
        print_json({"file": str(file), "machines": len(found), "warnings": list(found.warnings)})
        return
    show(f"{file}: {len(found)} machine{'' if len(found) == 1 else 's'}, no problems")
    for warning in found.warnings:
        note(warning)


@command(registry, "diff")
def registry_diff(session: Session, file: _FILE) -> None:
    """Show what a push of FILE would change in the live registry. Ends with 1 where they differ."""
    live, text = _Live.beside(file, session), _text(file)
    decision = decide(text, live.text, None, names=(_LIVE, _HERE))
    same = decision.action == SAME
    if session.json:
        print_json({"same": same, "difference": decision.difference, "live": live.path, "file": str(file)})
    elif same:
        show(f"{file} says the same as the live registry {live.path}")
    else:
        show(lines(decision.difference).rstrip("\n"))
    if not same:
        raise typer.Exit(int(ExitCode.FAILED))


@command(registry, "push")
def registry_push(
    session: Session,
    file: _FILE,
    force: Annotated[bool, typer.Option("--force", help="Also over changes not seen here.")] = False,
) -> None:
    """Put FILE in the live registry's place, unless that was changed since both last agreed."""
    text = _text(file)
    Registry.parse(text, str(file))  # all its problems, under the name that it has here
    live = _Live.beside(file, session)
    base = base_record(file) or live.pushed
    decision = decide(text, live.text, base, force, names=(_LIVE, _HERE))
    if decision.action == REFUSE:
        raise CliError(
            f"the live registry {live.path} has changes that {file} has not seen",
            f"Take them over with `kubestead registry pull {file}`, or by hand; `push --force` undoes them.",
            difference=decision.difference,
        )
    if decision.action != SAME:
        session.api.put_registry(text, expected_sha256=live.sha256, force=force)
    remember_base(file, decision.base)
    _tell(session, file, decision.action != SAME, decision.difference, f"{file} is the live registry now")


@command(registry, "pull")
def registry_pull(
    session: Session,
    file: _FILE,
    force: Annotated[bool, typer.Option("--force", help="Also over changes made here.")] = False,
) -> None:
    """Put the live registry in FILE's place, unless that was changed since both last agreed."""
    live = _Live.beside(file, session)
    if live.text is None:
        raise CliError(
            f"there is no live registry at {live.path}", f"`kubestead registry push {file}` makes it."
        )
    with locked(file):
        here = _text(file) if file.exists() else None
        decision = decide(live.text, here, base_record(file), force, names=(_HERE, _LIVE))
        if decision.action == REFUSE:
            raise CliError(
                f"{file} has changes that the live registry has not",
                f"Push them with `kubestead registry push {file}`; `pull --force` undoes them.",
                difference=decision.difference,
            )
        if decision.action != SAME:
            write_atomically(file.resolve(), live.text)
    remember_base(file, fingerprint(live.text))
    _tell(
        session, file, decision.action != SAME, decision.difference, f"{file} is the live registry's copy now"
    )


def _tell(session: Session, file: Path, changed: bool, change: str, done: str) -> None:
    if session.json:
        found: dict[str, Any] = {"file": str(file), "changed": changed, "difference": change}
        print_json(found)
        return
    if not changed:
        show(f"{file} and the live registry say the same; nothing to do")
        return
    show(lines(change).rstrip("\n"))
    show(done)


def _text(file: Path) -> str:
    if not file.exists():
        raise CliError(f"there is no file {file}", code=ExitCode.LACKING)
    return read_text(str(file))
