"""Small encoders from large ones: co-distillation of several teachers, and distillation for one task."""
