"""What is kept from callers of the users that they ask for."""
