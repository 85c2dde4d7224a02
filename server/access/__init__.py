"""Who may call a server, what they may ask, and how much of it."""
