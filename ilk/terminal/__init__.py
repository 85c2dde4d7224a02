"""How the client is used from a terminal: what may be typed, and how answers are laid out."""
