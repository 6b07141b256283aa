"""Learned data augmentation: SLACK's policies, their transformations, and training with them (thesis, chapter 3)."""

from training.augmentation.applying import Augmentation, augmentation_of
from training.augmentation.files import SavedPolicy, load_policy, save_policy
from training.augmentation.numbers import item_seeds, uniform_numbers
from training.augmentation.policy import Draws, Policy
from training.augmentation.transformations import POOL, POOLS, composed, composed_with_labels

__all__ = [
    "POOL",
    "POOLS",
    "Augmentation",
    "Draws",
    "Policy",
    "SavedPolicy",
    "augmentation_of",
    "composed",
    "composed_with_labels",
    "item_seeds",
    "load_policy",
    "save_policy",
    "uniform_numbers",
]
