"""What the indexer publishes and the server opens: immutable, versioned, verified."""

from ilk.bundle.mapping import Bundle
from ilk.bundle.reader import open_bundle, open_folder
from ilk.bundle.store import Store
from ilk.bundle.writer import publish

__all__ = ["Bundle", "Store", "open_bundle", "open_folder", "publish"]
