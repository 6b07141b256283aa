"""The explorer without its window: a session of a scene, driven by commands that can be undone."""
