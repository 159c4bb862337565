"""The one error type that is meant for the person: what went wrong, where, and what to do."""

import errno

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


_DISK_ERRORS = {
    errno.ENOSPC: ("the disk is full", "make room on it"),
    errno.EDQUOT: ("the disk quota is used up", "make room on it"),
    errno.EFBIG: ("a file may not grow any further", "see ulimit -f, or make room"),
    errno.EROFS: ("the file system is read-only", "choose another workspace"),
    errno.EACCES: ("permission denied", "change its owner or mode, or choose another workspace"),
    errno.EPERM: ("permission denied", "change its owner or mode, or choose another workspace"),
}


def disk_error(number: int | None, where: str) -> UserError | None:
    """The message for an error of the file system that a person can mend; None for others.

    Args:
        number: The system's error number.
        where: The path it is about.
    """
    if number not in _DISK_ERRORS:
        return None
    what, fix = _DISK_ERRORS[number]
    return UserError(what, where=where, fix=fix)
