"""Side-by-side measurements, each a ratio in one run; never part of the test run."""
