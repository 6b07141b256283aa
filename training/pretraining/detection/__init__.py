"""Fine-tuning of a pretrained encoder for objects and their masks (Mask3D, tables 2 to 4 and 6)."""
