"""How calls come in from gRPC's core, and answers go out, on one thread."""
