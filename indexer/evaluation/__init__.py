"""Offline evaluation: splits without leaks, figures, and baselines to be compared with."""
