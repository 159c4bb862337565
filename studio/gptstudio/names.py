"""What a run may be called."""

import re

from gptcore.errors import UserError

#: Also the longest a default name can become: a profile's name, a hyphen and a number.
LONGEST = 80
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*", re.ASCII)


def check_run_name(name: str) -> str:
    """`name`, if a run may be called so.

    Raises:
        UserError: It may not.
    """
    # `logs/training.log` is the link to the newest run's log, beside the folders of the runs.
    if _NAME.fullmatch(name) and len(name) <= LONGEST and name != "training.log":
        return name
    raise UserError(
        f"a run cannot be called {name!r}",
        where="--name",
        fix=f"up to {LONGEST} letters, digits, dots, underscores or hyphens,"
        " starting with a letter, digit or underscore",
    )
