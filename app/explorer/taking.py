"""Pictures that leave the explorer: stills of any size, and videos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from app.explorer.camera_path import MOST_FRAMES
from app.explorer.frames import frame, frame_in_bands, never
from app.explorer.looks import prepare
from render.errors import InputError
from render.files import atomic_file
from render.progress import Progress, silent

if TYPE_CHECKING:
    from jaxtyping import UInt8

    from app.explorer.document import Document
    from app.explorer.frames import Cancelled
    from app.explorer.looks import Look
    from app.explorer.session import Session
    from render.camera import Camera

MOST_PIXELS = 1 << 28  # of a still: 16384 x 16384, 800 MB as bytes
MOST_EDGE = 1 << 16
# In the order in which they are taken; browsers play all but the last.
CODECS = ("libx264", "libopenh264", "h264_videotoolbox", "h264_mf", "libvpx-vp9", "mpeg4")
QUALITY = {"libx264": {"crf": "18", "preset": "medium"}, "libvpx-vp9": {"crf": "24", "b:v": "0"}}
BITS_PER_PIXEL = 0.2  # of other codecs
STILL_QUALITY = 95  # of JPEG


def still(
    session: Session,
    look: Look,
    camera: Camera,
    path: str | Path,
    cancelled: Cancelled = never,
    *,
    document: Document | None = None,
    progress: Progress = silent,
) -> Path:
    """Write one picture, a PNG or JPEG file, at the camera's size, which may be any (``camera.resized``).

    The picture is drawn in bands, so memory is that of its bytes and of one band.

    Args:
        session: The scene and its document.
        look: What is shown.
        camera: From where, and how large.
        path: Of the file; an existing one is replaced at once or not at all.
        cancelled: Asked before every band.
        document: What is selected, hidden and removed; None = as it is in the session when this begins.
        progress: Told of every band of a large picture; raising from it cancels, and nothing is written.

    Raises:
        InputError: the name ends in neither .png nor .jpg, or the picture has more than 2^28 pixels.
        Interrupted: ``cancelled`` was true; nothing is written.
        OSError: the disk is full, or the folder cannot be written.
    """
    from PIL import Image

    from app.pictures import check_picture_name

    path = Path(path)
    check_picture_name(path)
    pixels = camera.width * camera.height
    if pixels > MOST_PIXELS or max(camera.width, camera.height) > MOST_EDGE:
        raise InputError(
            f"A still has at most {MOST_PIXELS:,} pixels and {MOST_EDGE:,} a side, found "
            f"{camera.width}x{camera.height}; take a smaller one."
        )
    whole = frame_in_bands(session, look, camera, cancelled, document=document, progress=progress)
    with atomic_file(path) as temporary:
        # Not optimized: that takes ten times as long, for a tenth of the bytes.
        Image.fromarray(whole.image).save(temporary, quality=STILL_QUALITY)
    return path


def video(
    session: Session,
    look: Look,
    cameras: Sequence[Camera],
    path: str | Path,
    fps: float = 30,
    *,
    document: Document | None = None,
    progress: Progress = silent,
) -> Path:
    """Write a video, an MP4 file that browsers play (H.264), frame by frame.

    What is edited meanwhile does not appear in it: all frames show one document.

    Args:
        session: The scene and its document.
        look: What is shown.
        cameras: One for each frame, at most 10 000, all of one size; an odd last row or column is left out, since
            video has none.
        path: Of the file; an existing one is replaced at once or not at all.
        fps: Frames per second.
        document: What is selected, hidden and removed; None = as it is in the session when this begins.
        progress: Told of every frame; raising from it cancels, and nothing is written.

    Raises:
        InputError: the name does not end in .mp4, there is no frame or too many, sizes differ or are too large, or
            nothing here can encode video.
        OSError: the disk is full, or the folder cannot be written.
    """
    path = Path(path)
    _check(cameras, path, fps)
    document = session.document if document is None else document
    prepare(session, look, document)
    width, height = (edge - edge % 2 for edge in (cameras[0].width, cameras[0].height))
    with atomic_file(path) as temporary, _writer(temporary, width, height, fps) as write:
        for done, camera in enumerate(cameras):
            progress(done, len(cameras), "video")
            write(frame(session, look, replace(camera, width=width, height=height), document=document))
        progress(len(cameras), len(cameras), "video")
    return path


def video_codec() -> str:
    """The encoder that videos are written with.

    Raises:
        InputError: there is none.
    """
    try:
        import av
    except ImportError as error:
        raise InputError(
            "Videos are written with PyAV, which is not installed; install it with: pip install av"
        ) from error
    known = [name for name in CODECS if _can_encode(av, name)]
    if not known:
        raise InputError(
            f"The installed PyAV {av.__version__} can encode none of {', '.join(CODECS)}; install another build with: "
            "pip install --force-reinstall av"
        )
    return known[0]


def _can_encode(av: Any, name: str) -> bool:
    if name not in av.codecs_available:
        return False
    try:
        av.codec.Codec(name, "w")
    except (av.error.FFmpegError, ValueError):
        return False
    return True


@contextmanager
def _writer(path: Path, width: int, height: int, fps: float) -> Iterator[Any]:
    """Yield what takes one picture after the other."""
    import av

    codec = video_codec()
    rate = Fraction(fps).limit_denominator(1001)
    # The index comes first, so that a browser can begin before the whole file is there.
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream: Any = container.add_stream(codec, rate=rate, options=QUALITY.get(codec, {}))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if codec not in QUALITY:
            stream.bit_rate = int(width * height * fps * BITS_PER_PIXEL)

        def write(image: UInt8[np.ndarray, "h w 3"]) -> None:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))

        yield write
        container.mux(stream.encode())


def _check(cameras: Sequence[Camera], path: Path, fps: float) -> None:
    if path.suffix.lower() != ".mp4":
        raise InputError(f"Expected a video's name that ends in .mp4, found {path}.")
    if len(cameras) > MOST_FRAMES:
        raise InputError(f"A video has at most {MOST_FRAMES} frames, found {len(cameras)}; make it shorter.")
    sizes = {(camera.width, camera.height) for camera in cameras}
    if len(sizes) != 1 or min(sizes.copy().pop()) < 2 or max(sizes.copy().pop()) > 8192:
        found = ", ".join(f"{width}x{height}" for width, height in sorted(sizes)) or "no frames"
        raise InputError(f"A video needs frames of one size from 2x2 to 8192x8192, found {found}.")
    if not 0 < fps <= 240:
        raise InputError(f"A video has up to 240 frames per second, found {fps:g}.")
