"""Loops that fit Gaussians and train 2D models."""
