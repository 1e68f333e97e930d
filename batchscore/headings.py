"""Options that --help lists under headings, and that the environment can give."""

from __future__ import annotations

import copy
import difflib
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click

from batchscore.errors import UsageError
from batchscore.limits import Limit, Share, parse_limit

Command = TypeVar("Command", bound=Callable[..., Any])


class GroupedOption(click.Option):
    """An option that --help lists under a heading."""

    def __init__(self, *args: Any, heading: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.heading = heading

    def value_from_envvar(self, ctx: click.Context) -> Any:
        """The variable's value; an option that may be repeated takes one value a line."""
        text = self.resolve_envvar_value(ctx)
        if text is None or not self.multiple:
            return text
        return [line for line in text.splitlines() if line]


class GroupedCommand(click.Command):
    """A command whose --help lists its options under headings, and whose options come from the environment too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params = list(map(copy.copy, self.params))  # which commands may share
        for parameter in self.params:
            if isinstance(parameter, GroupedOption):
                words = max(parameter.opts, key=len).lstrip("-")
                parameter.envvar = f"BATCHSCORE_{self.name}_{words}".replace("-", "_").upper()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does; a wrong use that a misspelt variable may explain says so."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            if not (words := list(self.unknown_variables())):
                raise
            raise click.UsageError("; ".join([error.format_message().rstrip("."), *words]), ctx) from None

    def unknown_variables(self) -> Iterator[str]:
        """A warning of each environment variable that is named as if it were an option's, and isn't."""
        known = [parameter.envvar for parameter in self.params if isinstance(parameter, GroupedOption)]
        for name in sorted(os.environ):
            if name.startswith(f"BATCHSCORE_{self.name}_".upper()) and name not in known:
                similar = difflib.get_close_matches(name, map(str, known), n=1)
                hint = f"did you mean {similar[0]}?" if similar else "`--help` lists the options"
                yield f"the environment variable {name} has no effect: there is no such option; {hint}"

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options by heading, in the order of their first appearance."""
        headings: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if isinstance(parameter, click.Argument):
                continue
            record = parameter.get_help_record(ctx)
            if record is not None:
                headings.setdefault(getattr(parameter, "heading", "Help"), []).append(record)
        for heading, records in headings.items():
            with formatter.section(heading):
                formatter.write_dl(records, col_max=26)


def option(heading: str, *names: str, **settings: Any) -> Callable[[Command], Command]:
    """A click option under a heading; without a default it is None, and --help shows any other."""
    if not any(settings.get(other) for other in ("is_flag", "multiple", "required")):
        settings.setdefault("default", None)
        settings["show_default"] = settings["default"] is not None
    return click.option(*names, cls=GroupedOption, heading=heading, **settings)


class Pair(click.ParamType):  # type: ignore[type-arg]  # generic in newer clicks only
    """NAME=VALUE as a pair; a message shows nothing of one that is secret."""

    name = "pair"

    def __init__(self, *, is_secret: bool = False) -> None:
        self.is_secret = is_secret

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Split at the first `=`."""
        if isinstance(value, tuple):
            return value
        name, sign, rest = str(value).partition("=")
        if not name or not sign:
            found = "something else" if self.is_secret else repr(value)
            self.fail(f"expected NAME=VALUE, found {found}", param, ctx)
        return name, rest


class WholeNumber(click.IntRange):
    """A number within bounds, by a name that people know."""

    name = "whole number"


class LimitType(click.ParamType):  # type: ignore[type-arg]  # as above
    """A number of failures, or a percentage of all."""

    name = "limit"

    def __init__(self, option_name: str, least: int = 0) -> None:
        self._option, self._least = option_name, least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Limit:
        """Read `3` or `5%`."""
        if isinstance(value, Share):
            return value
        try:
            return parse_limit(value, "it", self._least)
        except UsageError as error:
            self.fail(str(error), param, ctx)
