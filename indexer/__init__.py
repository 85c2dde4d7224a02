"""The program that builds, evaluates and publishes bundles: ``python -m indexer``."""
