# SPDX-License-Identifier: GPL-3.0-or-later
"""`kubestead backup`, `restore` and `store move`: the state store as a whole.

What opens a database is slow to import and looked for only where it is needed.
"""

from __future__ import annotations

import os
import tempfile
from datetime import datetime, timezone
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from kubestead.exit_codes import ExitCode
from kubestead.model.atomic import UNFINISHED

from .actions import confirm
from .command import command
from .errors import CliError
from .options import Yes
from .output import note, print_json, show
from .session import Session

store = typer.Typer(help="The state store as a whole.", no_args_is_help=True)

_HOST_DATABASE = Path("/srv/state/machines.db")
_SCHEMES = ("postgresql://", "postgres://", "sqlite:///")
_SQLITE = b"SQLite format 3\x00"

Database = Annotated[
    Path | None,
    typer.Option(
        "--database",
        metavar="FILE",
        help="The SQLite file of the store itself, not by the API.",
        show_default=False,
    ),
]
DatabaseUrlFile = Annotated[
    Path | None,
    typer.Option(
        "--database-url-file",
        metavar="FILE",
        help="The file that holds the URL of the store's database, not by the API.",
        show_default=False,
    ),
]


def back_up(
    session: Session,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="Where to; without it a name with the time.", show_default=False),
    ] = None,
    database: Database = None,
    database_url_file: DatabaseUrlFile = None,
) -> None:
    """Make a copy of the state store, safe while it is written to."""
    url = _url(database, database_url_file)
    file = file or Path(f"kubestead-{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}.backup")
    if file.exists():
        raise CliError(f"{file} is there already", "Choose another name, or remove it.")
    if not file.absolute().parent.is_dir():
        raise CliError(f"there is no folder {file.parent}", code=ExitCode.LACKING)
    if url is None:
        _download(session, file)
    else:
        _admin("backup", url, file)
    size = file.stat().st_size
    if session.json:
        print_json({"file": str(file), "bytes": size})
    else:
        show(
            f"{file}: {size} bytes. It holds what machines reported, and the hashes of tokens: keep it safe."
        )


def restore(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The backup.")],
    database: Database = None,
    database_url_file: DatabaseUrlFile = None,
    yes: Yes = False,
) -> None:
    """Put a backup in the state store's place. The State API has to be stopped."""
    if not file.exists():
        raise CliError(f"there is no file {file}", code=ExitCode.LACKING)
    url = _url(database, database_url_file)
    if url is None:
        if not _HOST_DATABASE.exists():
            raise CliError(
                "which database is meant?",
                "On the API's host name it: --database FILE (SQLite) or --database-url-file FILE.",
                ExitCode.WRONG_INPUT,
            )
        database = _HOST_DATABASE
        url = _sqlite_url(database)
    name = database or f"the database of {database_url_file}"
    confirm(f"Replace {name} by {file}? What was reported since is lost.", yes)
    _admin("restore", file, url)
    if session.json:
        print_json({"file": str(file), "restored": True})
    else:
        show(f"{name} is as {file} has it; what a SQLite file held before lies beside it.")
        show("Start the State API again: systemctl start machine-state-api")


@command(store, "move", api=False)
def store_move(
    session: Session,
    source: Annotated[
        str, typer.Argument(metavar="FROM", help="A SQLite file, or a file that holds a database's URL.")
    ],
    target: Annotated[
        str, typer.Argument(metavar="TO", help="The same; it has to be empty, or not there yet.")
    ],
) -> None:
    """Move the state store to another database: SQLite to PostgreSQL, or back.

    The State API has to be stopped.
    """
    source_url, target_url = _place(source, must_exist=True), _place(target, must_exist=False)
    if source_url == target_url:
        raise CliError(f"{source} and {target} are the same database", code=ExitCode.WRONG_INPUT)
    rows = _admin("move", source_url, target_url)
    if session.json:
        print_json({"from": source, "to": target, "rows": rows})
    else:
        show(f"{target} holds the {rows['machines']} machines and {rows['events']} events of {source},")
        show(f"which is as it was. Let the State API use {target} now.")


def _download(session: Session, file: Path) -> None:
    """Take the copy that the API makes; under its name is only ever a whole one."""
    descriptor, unfinished = tempfile.mkstemp(prefix=f"{UNFINISHED}{file.name}.", dir=file.absolute().parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            session.api.backup(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.link(unfinished, file)  # unlike a rename, this replaces no file that came meanwhile
    finally:
        os.unlink(unfinished)


def _url(database: Path | None, url_file: Path | None) -> str | None:
    if database is not None and url_file is not None:
        raise CliError(
            "--database and --database-url-file are two places: name one", code=ExitCode.WRONG_INPUT
        )
    if database is not None:
        return _sqlite_url(database)
    return None if url_file is None else _url_in(url_file)


def _place(word: str, must_exist: bool) -> str:
    """The URL of the database that an argument stands for; a URL itself is refused, arguments are seen."""
    if "://" in word:
        raise CliError(
            "a URL on the command line, and the password in it, is seen by everyone on this computer",
            "Write it into a file that only you may read (chmod 0600), and name that file.",
            ExitCode.WRONG_INPUT,
        )
    path = Path(word)
    if not path.exists():
        if must_exist:
            raise CliError(f"there is no file {path}", code=ExitCode.LACKING)
        return _sqlite_url(path)
    with path.open("rb") as stream:
        head = stream.read(len(_SQLITE))
    return _sqlite_url(path) if head == _SQLITE or not head else _url_in(path)


def _url_in(file: Path) -> str:
    try:
        url = file.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        url = ""
    # What stands there may hold a password and is not repeated.
    if not url.startswith(_SCHEMES) or len(url.split()) != 1:
        raise CliError(
            f"{file} holds no database URL",
            "Expected one line such as postgresql://USER:PASSWORD@HOST/DATABASE.",
            ExitCode.WRONG_INPUT,
        )
    if file.stat().st_mode & 0o077:
        note(f"{file} can be read by others, and holds a password: chmod 0600 {file}")
    return url


def _sqlite_url(path: Path) -> str:
    url: str = import_module("kubestead.store.database").sqlite_url(path.absolute())
    return url


def _admin(verb: str, *arguments: Any) -> Any:
    """One of the verbs of kubestead.store.admin; what it refuses is told as it says it."""
    errors = import_module("kubestead.store.errors")
    try:
        return getattr(import_module("kubestead.store.admin"), verb)(*arguments)
    except errors.StoreUnavailableError as error:
        raise CliError(str(error).rstrip("."), "Nothing was changed. Try again.") from None
    except errors.StoreError as error:
        raise CliError(str(error).rstrip("."), "Nothing was changed.") from None
