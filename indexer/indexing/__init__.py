"""How each space gets its index: candidates are built and measured, and one is chosen."""
