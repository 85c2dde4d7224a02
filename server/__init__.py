"""The program that answers queries from a published bundle: ``python -m server``."""
