"""2D encoders and their registry; each encoder imports its libraries when it is made."""

from uplift.encoders.base import Encoder, Image, Tokens, TrainableEncoder, as_image, fit_encoder
from uplift.encoders.defaults import default_encoder
from uplift.encoders.registry import (
    EncoderEntry,
    EncoderFamily,
    encoder_entries,
    encoder_families,
    load_encoder,
    register_encoder,
    register_family,
)

__all__ = [
    "Encoder",
    "EncoderEntry",
    "EncoderFamily",
    "Image",
    "Tokens",
    "TrainableEncoder",
    "as_image",
    "default_encoder",
    "encoder_entries",
    "encoder_families",
    "fit_encoder",
    "load_encoder",
    "register_encoder",
    "register_family",
]
