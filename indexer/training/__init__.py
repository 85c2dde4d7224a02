"""How interactions become the arrays of a bundle."""
