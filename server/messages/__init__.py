"""How bytes from the wire become values, and answers become bytes."""
