"""What a server shows of itself: its counts and its log."""
