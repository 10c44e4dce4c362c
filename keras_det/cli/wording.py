"""Errors in the words of the command: its options in place of the arguments of functions."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from typer.core import TyperGroup

BAD_INPUT = (ValueError, TypeError, OSError, ImportError)  # what bad input raises; anything else is a defect


class Commands(TyperGroup):
    """A group whose commands' errors name options: `batch_size` of a function is --batch-size of the command."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except BAD_INPUT as error:
            asked = self.get_command(ctx, ctx.invoked_subcommand or "")
            options = {one.name: one.opts[0] for one in asked.params if one.opts[0].startswith("-")} if asked else {}
            _rename(error, options)
            raise


@contextlib.contextmanager
def naming(**options: str) -> Iterator[None]:
    """Errors raised herein name these options, by the arguments of functions that they stand for."""
    try:
        yield
    except BAD_INPUT as error:
        _rename(error, options)
        raise


def _rename(error, options):
    """Put options in place of the names in backticks."""
    if len(error.args) == 1 and isinstance(error.args[0], str):
        error.args = (re.sub(r"`(\w+)`", lambda match: options.get(match[1], match[0]), error.args[0]),)
