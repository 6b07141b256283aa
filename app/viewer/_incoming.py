"""What a page may say to viser: known messages, of the right types, of bounded size; everything else is stopped here.

viser trusts its pages: a message can set any attribute of a widget, grow the list that every new page is sent, or
raise inside the server.  Uploads are not accepted at all: no file of a page reaches the disk.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from app.viewer import _internals

if TYPE_CHECKING:
    import viser

ACCEPTED = (
    "ViewerCameraMessage",
    "GuiUpdateMessage",
    "GuiButtonHoldMessage",
    "GuiFormSubmitMessage",
    "CommandTriggerMessage",
    "ScenePointerMessage",
    "SceneNodeClickMessage",
    "SceneNodeDragMessage",
    "TransformControlsUpdateMessage",
    "TransformControlsDragStartMessage",
    "TransformControlsDragEndMessage",
    "GetRenderResponseMessage",
    "LocalStorageGetItemResponseMessage",
    "FileTransferPartAck",
)
# viser's own page sends these too; they have no effect here.
IGNORED = (
    "ShareUrlRequest",
    "ShareUrlDisconnect",
    "GuiFormDirtyMessage",
    "FileTransferStartUpload",
    "FileTransferPart",
)
LONGEST_TEXT = 100_000  # characters of any text in a message
LONGEST_LIST = 1000
LARGEST_NUMBER = 1e12
DEEPEST = 4  # lists inside lists


class Malformed(ValueError):  # noqa: N818 - what it is, not that it is an error: pages send it, the server goes on
    """A message that no page of viser sends."""


class Incoming:
    """Checks the messages of pages.

    Args:
        server: Gives the widgets that an update may name; looked up when a message arrives.
    """

    def __init__(self) -> None:
        self._types = _internals.message_types(ACCEPTED)
        self.server: viser.ViserServer | None = None

    def accepts(self, data: bytes | str) -> bool:
        """Whether viser may have a message; False for one to leave out.

        Raises:
            Malformed: the page that sent it speaks another language; its connection should end.
        """
        message = _decode(data)
        kind = message.pop("type", None)
        if kind in IGNORED:
            return False
        if not isinstance(kind, str) or kind not in self._types:
            raise Malformed("unknown kind of message")
        values = self._convert(kind, message)
        if not _is_bounded(values, DEEPEST):
            return False
        return kind != "GuiUpdateMessage" or self._is_update(message)

    def _convert(self, kind: str, message: dict[str, Any]) -> list[Any]:
        import msgspec

        try:
            msgspec.convert(message, type=self._types[kind])
        except msgspec.ValidationError as error:
            raise Malformed(f"{kind}: {error}") from error
        if set(message) - set(self._types[kind].__dataclass_fields__):  # type: ignore[attr-defined]
            raise Malformed(f"{kind}: unknown fields")
        # Rendered stills are the one thing that is long by nature; the size of messages bounds it.
        return [value for value in message.values() if not isinstance(value, bytes)]

    def _is_update(self, message: dict[str, Any]) -> bool:
        """Whether an update gives an enabled widget a value that a person could have given it."""
        if set(message["updates"]) != {"value"}:
            raise Malformed("GuiUpdateMessage: a page changes values only")
        handle = None if self.server is None else _internals.input_handle(self.server, message["uuid"])
        if handle is None or getattr(handle, "disabled", False):
            return False
        return _fits(handle, message["updates"]["value"])


def _decode(data: bytes | str) -> dict[str, Any]:
    import msgspec

    if isinstance(data, str):
        raise Malformed("text where bytes are expected")
    try:
        message = msgspec.msgpack.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise Malformed(str(error)) from error
    if not isinstance(message, dict) or not all(isinstance(key, str) for key in message):
        raise Malformed("not a message")
    return message


def _is_bounded(value: object, depth: int) -> bool:
    """Whether everything in a value is short, finite and not nested deeper than viser's own messages."""
    if value is None or isinstance(value, bool):
        return True
    if isinstance(value, int | float):
        return math.isfinite(value) and abs(value) <= LARGEST_NUMBER
    if isinstance(value, str):
        return len(value) <= LONGEST_TEXT
    if depth == 0 or not isinstance(value, list | dict) or len(value) > LONGEST_LIST:
        return False
    items = [*value.keys(), *value.values()] if isinstance(value, dict) else value
    return all(_is_bounded(item, depth - 1) for item in items)


def _fits(handle: Any, value: object) -> bool:
    """Whether a widget could have this value: its type, one of its options, within its limits."""
    present = handle.value
    if isinstance(present, bool):
        return isinstance(value, bool)
    if isinstance(present, str):
        options = getattr(handle, "options", None)
        return isinstance(value, str) and (options is None or value in options)
    if isinstance(present, int | float):
        return _is_within(value, getattr(handle, "min", None), getattr(handle, "max", None))
    if isinstance(present, tuple):
        return isinstance(value, list) and len(value) == len(present) and _parts_fit(handle, value)
    return False


def _parts_fit(handle: Any, values: list[Any]) -> bool:
    """Whether the parts of a vector, a colour or a range fit."""
    import viser

    if isinstance(handle, viser.GuiRgbHandle | viser.GuiRgbaHandle):
        return all(_is_within(value, 0, 255) for value in values)
    limits = [getattr(handle, name, None) for name in ("min", "max")]
    low, high = (limit if isinstance(limit, tuple) else [limit] * len(values) for limit in limits)
    return all(_is_within(*bounded) for bounded in zip(values, low, high, strict=True))


def _is_within(value: object, low: float | None, high: float | None) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    slack = 1e-6 * max(1.0, abs(low or 0), abs(high or 0))  # steps of a slider do not hit its end exactly
    return (low is None or value >= low - slack) and (high is None or value <= high + slack)
