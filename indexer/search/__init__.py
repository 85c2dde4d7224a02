"""How settings are searched for."""
