"""The one error type that is meant for the person: what went wrong, where, and what to do."""

#: Exit status of the command line for input that cannot be used.
EXIT_BAD_INPUT = 2


class UserError(Exception):
    """Something the person can mend.

    Args:
        what: What is wrong, in one sentence.
        where: The file, setting, run or folder it is about.
        fix: What to do about it, by name and value.
    """

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        """All three parts, a line each, the empty ones left out."""
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.fix:
            lines.append(f"  to do: {self.fix}")
        return "\n".join(lines)
