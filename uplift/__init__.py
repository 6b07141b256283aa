"""2D encoders, feature maps and lifting them to 3D."""
