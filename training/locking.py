"""Locks of files between processes, which end with the process that holds them."""

from __future__ import annotations

import errno
import sys
from typing import IO, Any

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


def try_to_lock(file: IO[Any]) -> bool:
    """Take the exclusive lock of an open file until it is closed; whether that was possible at once.

    File systems without locks give it to everybody.  The file should stay where it is: one that is removed and made
    again could be locked twice.

    Raises:
        OSError: the file system fails.
    """
    try:
        if sys.platform == "win32":
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    return True
