"""The program that answers queries from a published bundle: ``python -m server``."""

import os

# The core of gRPC looks here once, when grpc is first imported. What an operator says goes before, and a
# core that knows no such experiment goes on without. With its event engine it reads from connections in
# threads of its own, and wakes who waits for what they read; without, who waits reads.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")
# It writes to stderr by itself; left to itself, what peers sent as well.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
# Processes are started anew, not as copies. Where one cannot be, what stops the core's threads meanwhile
# would wait for them for good.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
