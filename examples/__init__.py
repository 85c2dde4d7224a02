"""Things to run and read: the tour that ``make demo`` gives, the walk-through everyone starts from."""
