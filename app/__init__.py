"""The command fit3d."""
