"""What must hold while the server changes, stops, falls and goes on: each module measures one thing."""
