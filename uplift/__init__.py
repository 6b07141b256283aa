"""2D encoders, feature maps and lifting them to 3D."""

from uplift.encoders import Encoder, encoder_entries, load_encoder, register_encoder
from uplift.field import FeatureField
from uplift.pca import PCAColours

__all__ = [
    "Encoder",
    "FeatureField",
    "PCAColours",
    "encoder_entries",
    "load_encoder",
    "register_encoder",
]
