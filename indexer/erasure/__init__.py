"""How users are forgotten."""
