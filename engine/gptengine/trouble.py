"""What an exception of a library means: memory that ran out, a disk that is full. No torch."""

import re


def system_number(error: BaseException) -> int | None:
    """The operating system's number of an error, where it has one."""
    if isinstance(error, OSError):
        return error.errno
    if type(error).__name__ == "SafetensorError":  # has it in its text alone
        found = re.search(r"os error (\d+)", str(error))
        return int(found[1]) if found else None
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on a GPU or a CPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error)
    return any(
        sign in text
        for sign in ("can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")
    )
