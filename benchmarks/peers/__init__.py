"""Other people's programs that Ilk is measured beside, each in an environment of its own."""
