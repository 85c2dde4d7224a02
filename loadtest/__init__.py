"""Load for a running server, sent on a schedule: ``make loadtest`` or ``python -m loadtest``."""
