"""The benchmarks of LUDVIG: data sets in their published layouts, variants, figures beside the paper's."""
