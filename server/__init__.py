"""The program that answers queries from a published bundle: ``python -m server``."""

import os

# With its event engine the core reads from connections in threads of its own, and wakes who waits for
# what they read; without, who waits reads. It looks here once, when grpc is first imported. What an
# operator says goes before, and a core that knows no such experiment goes on without.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")
