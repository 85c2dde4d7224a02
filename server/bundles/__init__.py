"""Which bundle is served, what is asked of it, what that costs, and how well it is answered."""
