"""The small encoders that travel with fit3d: trained from nothing on rooms (:mod:`training.rooms`)."""
