"""What a bundle must show before it is served."""
