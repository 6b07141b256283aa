"""Pretraining without labels, and fine-tunings that measure what it is worth."""
