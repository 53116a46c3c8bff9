"""Accounts on hold for an incident: nobody else gets them, and what they run and left is kept as evidence.

An account is on hold while root's file ``STATE/holds/ACCOUNT`` exists; its text says why, and who wants that.
"""

from __future__ import annotations

import os

from gridwarden import trusted
from gridwarden.errors import Unavailable

LONGEST_TEXT = 4096


def why_held(directory: str | os.PathLike[str], account: str) -> str:
    """Why an account is on hold, or nothing; raises Unavailable, ConfigurationError when that cannot be told.

    A hold file of which others could have written the text, or that has none, holds all the same.  Where
    ``directory`` is not there, nothing is on hold.
    """
    try:
        os.lstat(directory)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise Unavailable(f"{directory}: it cannot be told who is on hold: {error.strerror}") from error
    parent = trusted.open_directory(directory)
    try:
        descriptor = os.open(account, trusted.OPEN_FLAGS | os.O_NONBLOCK, dir_fd=parent)
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"its hold file cannot be read: {error.strerror}"
    finally:
        os.close(parent)
    try:
        status = os.fstat(descriptor)
        if status.st_uid != 0 or status.st_mode & trusted.WRITABLE_BY_OTHERS:
            return "its hold file is not root's alone"
        text = os.read(descriptor, LONGEST_TEXT).decode("utf-8", "surrogateescape")
        return " ".join(text.split()) or "its hold file does not say why"
    except OSError as error:
        return f"its hold file cannot be read: {error.strerror}"
    finally:
        os.close(descriptor)


def everyone(directory: str | os.PathLike[str]) -> dict[str, str]:
    """Why each account that is on hold is so; raises as ``why_held``."""
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Unavailable(f"{directory}: it cannot be told who is on hold: {error.strerror}") from error
    return {name: why for name in names if (why := why_held(directory, name))}
