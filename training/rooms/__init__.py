"""Furnished rooms made from a seed: geometry, words, pictures with exact maps, and scene folders."""
