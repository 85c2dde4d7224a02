"""Generated from ``proto/ilk/v1``; never edited. ``make stubs`` writes it, ``make check`` compares."""
