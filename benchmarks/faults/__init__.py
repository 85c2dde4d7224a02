"""What Ilk does when disks fail, processes die, files lie and callers do: seeded, counted, repeatable."""
