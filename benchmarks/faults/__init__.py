"""What Ilk does when disks fail, processes die and files lie: seeded, counted, repeatable."""
