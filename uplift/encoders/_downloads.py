"""Downloads by the encoders' own libraries: quick to fail without a network, and the sentence for that."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies

from render.errors import InputError

PATIENCE = 5  # seconds


@contextmanager
def impatient_hub() -> Iterator[None]:
    """Inside, the Hugging Face hub's client looks into its cache only if the hub does not answer.

    By itself it tries for most of a minute, and writes about it, before it gives up.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _answers(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _answers(address: str) -> bool:
    if getproxies():
        return True  # what a proxy reaches cannot be told from here
    parts = urlsplit(address)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 443), timeout=PATIENCE).close()
    except OSError:
        return False
    return True


class OutOfReachError(InputError):
    """Weights that could not be downloaded.

    Attributes:
        cause: Why, in a few words.
    """

    def __init__(self, message: str, cause: str) -> None:
        super().__init__(message)
        self.cause = cause


def out_of_reach(name: str, file: str, origin: str, error: BaseException) -> OutOfReachError:
    """The sentence for weights that could not be downloaded.

    Args:
        name: The encoder.
        file: The file that is missing.
        origin: Where it comes from, in words.
        error: Why the download failed.
    """
    cause = first_sentence(error)[:120]
    return OutOfReachError(
        f"The weights of {name} are out of reach ({cause}): get the file {file} from {origin}, and pass it with "
        f"--weights FILE.",
        cause,
    )


def first_sentence(error: BaseException) -> str:
    """How an error's text begins; libraries go on for many lines."""
    return re.split(r"\.\s|\n", str(error) or type(error).__name__, maxsplit=1)[0].strip().rstrip(".")
