# SPDX-License-Identifier: GPL-3.0-or-later
"""Answer files from templates: ours, or where a folder of overriding ones has the name, those."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from jinja2 import (
    BaseLoader,
    Environment,
    StrictUndefined,
    TemplateError,
    TemplateNotFound,
    TemplateSyntaxError,
    select_autoescape,
)
from jinja2.loaders import split_template_path

from .plan import InstallPlan

TEMPLATES = Path(__file__).parent / "templates"
#: A file here takes the place of ours by the same name, such as `debian/preseed.cfg.j2`.
OVERRIDES = Path("/etc/kubestead/installers")

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def render(name: str, plan: InstallPlan, **more: object) -> str:
    """A template's text for one installation."""
    values = {"plan": plan, "machine": plan.machine, "settings": plan.settings, **more}
    return _environment(OVERRIDES).get_template(f"{name}.j2").render(values)


def broken(names: Iterable[str], plan: InstallPlan, **more: object) -> str | None:
    """Say which template cannot be rendered and why; our own can, so it is one that overrides."""
    for name in names:
        try:
            render(name, plan, **more)
        except TemplateSyntaxError as error:
            return (
                f"the template {error.filename or name} cannot be used: line {error.lineno}: {error.message}"
            )
        except (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            return f"the template {_place(name)} cannot be used: {error}"
        except OSError as error:
            return f"the template {_place(name)} cannot be read: {error.strerror or error}"
    return None


def _place(name: str) -> Path:
    over = OVERRIDES / f"{name}.j2"
    return over if over.exists() else TEMPLATES / f"{name}.j2"


class _Templates(BaseLoader):
    """Finds templates; one that somebody puts before ours, changes or takes away is seen the next time."""

    def __init__(self, overrides: Path) -> None:
        self._folders = (overrides, TEMPLATES)

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        """The text, its file, and whether that is still the one."""
        seen = self._look(template)
        if seen is None:
            raise TemplateNotFound(template)
        return seen[0].read_text(encoding="utf-8"), str(seen[0]), lambda: self._look(template) == seen

    def _look(self, template: str) -> tuple[Path, int, int] | None:
        for folder in self._folders:
            path = folder.joinpath(*split_template_path(template))
            with suppress(FileNotFoundError, NotADirectoryError):
                status = path.stat()
                return path, status.st_mtime_ns, status.st_size
        return None


@lru_cache(maxsize=8)
def _environment(overrides: Path) -> Environment:
    made = Environment(
        loader=_Templates(overrides),
        undefined=StrictUndefined,
        # These are scripts and settings, no pages: what is written into them is quoted by `sh` and `json`,
        # and nothing gets in that could begin another line.
        autoescape=select_autoescape((), ()),
        finalize=_one_line,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["sh"] = _quoted
    made.filters["json"] = lambda value: json.dumps(value, ensure_ascii=True)
    return made


def _quoted(value: object) -> str:
    return "'" + str(value).replace("'", "'\\''") + "'"


def _one_line(value: object) -> object:
    if isinstance(value, str) and _CONTROL.search(value):
        raise ValueError("a value with a line break or control character")
    return value
