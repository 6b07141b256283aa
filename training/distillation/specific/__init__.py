"""Distillation for one task: a head on a large frozen encoder teaches a small network.

Marrie et al. 2024, *On good practices for task-specific distillation of large pretrained visual models*; sections,
equations and tables are numbered as in chapter 4 and appendix B of the thesis that it became a part of.
"""
