"""Ilk: nearest users, nearest films, or a blend of both, over gRPC."""
