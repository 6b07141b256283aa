"""The nerfstudio methods ``fit3d`` and ``fit3d-small``: feature Gaussians on any machine."""
