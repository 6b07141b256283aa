"""2D encoders and their registry; each encoder imports its libraries when it is made."""

from uplift.encoders.base import Encoder, Image, as_image, fit_encoder
from uplift.encoders.registry import EncoderEntry, encoder_entries, load_encoder, register_encoder

__all__ = [
    "Encoder",
    "EncoderEntry",
    "Image",
    "as_image",
    "encoder_entries",
    "fit_encoder",
    "load_encoder",
    "register_encoder",
]
