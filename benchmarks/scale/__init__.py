"""Worlds of millions made from a small real one, and what building and serving them costs."""
