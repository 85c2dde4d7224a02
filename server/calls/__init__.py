"""What happens to a call: it is let in, answered alone, in a batch or in a stream, and counted."""
