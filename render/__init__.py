"""Gaussians, cameras, scenes on disk, and the rasterizer."""
