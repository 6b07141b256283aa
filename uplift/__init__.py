"""2D encoders, lifting their features onto Gaussians, the neighbour graph, diffusion, and selections from prompts."""

from uplift.attribution import gaussians_of_pixels, pixels_of_gaussians
from uplift.diffusion import diffuse, reachable
from uplift.encoders import Encoder, encoder_entries, load_encoder, register_encoder
from uplift.field import FeatureField
from uplift.graph import NeighbourGraph, knn_graph
from uplift.lifting import lift, lift_memory
from uplift.maps import FeatureMapCache
from uplift.pca import PCAColours
from uplift.prompts import Prompt
from uplift.random_walker import RandomWalker
from uplift.reduction import Reduced
from uplift.sam_masks import SamSegmenter
from uplift.search import Searcher
from uplift.segmentation import Segmenter
from uplift.selection import Selection

__all__ = [
    "Encoder",
    "FeatureField",
    "FeatureMapCache",
    "NeighbourGraph",
    "PCAColours",
    "Prompt",
    "RandomWalker",
    "Reduced",
    "SamSegmenter",
    "Searcher",
    "Segmenter",
    "Selection",
    "diffuse",
    "encoder_entries",
    "gaussians_of_pixels",
    "knn_graph",
    "lift",
    "lift_memory",
    "load_encoder",
    "pixels_of_gaussians",
    "reachable",
    "register_encoder",
]
