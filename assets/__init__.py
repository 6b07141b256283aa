"""The demo scene and small encoders, each with the command that made it: data alone."""
