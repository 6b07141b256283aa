"""The explorer's page: a guarded viser server, a canvas to draw on, and the cameras of those who look."""
