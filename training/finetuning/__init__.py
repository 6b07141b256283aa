"""3D-aware fine-tuning of 2D encoders (FiT3D, stage II; Yue et al. 2024, section 3.2)."""
