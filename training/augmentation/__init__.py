"""Learned data augmentation: SLACK's policies, their transformations, and training with them (thesis, chapter 3)."""
