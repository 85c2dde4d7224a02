"""What processes a server is made of, and how they begin, watch and end one another."""
