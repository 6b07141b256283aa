"""The papers' claims at small scale, measured from nothing by one command each, and what these commands share."""
