"""Masked 3D pretraining from single RGB-D frames (Hou et al. 2023, Mask3D), and masked colours alone (MAE)."""
