"""The tabs of a page, one module each."""
