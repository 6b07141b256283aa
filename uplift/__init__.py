"""2D encoders, feature maps and lifting them to 3D."""

from uplift.encoders import Encoder, encoder_entries, load_encoder, register_encoder
from uplift.field import FeatureField
from uplift.lifting import lift, lift_memory
from uplift.maps import FeatureMapCache
from uplift.pca import PCAColours

__all__ = [
    "Encoder",
    "FeatureField",
    "FeatureMapCache",
    "PCAColours",
    "encoder_entries",
    "lift",
    "lift_memory",
    "load_encoder",
    "register_encoder",
]
