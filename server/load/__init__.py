"""How much work is taken up, when and where it is done, and what is turned away."""
