"""Co-distillation: one encoder from several heterogeneous teachers (DUNE; Sariyildiz et al. 2025, section 4)."""
