"""Knows how to ask a server for its health, where no other program can: exit 0 if it serves.

Run as ``python deploy/probe.py HOST:PORT``. It refuses to know why a server is not healthy.
"""

import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

_TIMEOUT_S = 3.0


def main(target: str) -> int:
    """Return 0 if the server at ``target`` says SERVING, else 1 after a word on stderr."""
    with grpc.insecure_channel(target, [("grpc.enable_http_proxy", 0)]) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_S)
        except grpc.RpcError as error:
            sys.stderr.write(f"{target}: {error.code().name}\n")
            return 1
    if answer.status == health_pb2.HealthCheckResponse.SERVING:
        return 0
    name = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    sys.stderr.write(f"{target}: {name}\n")
    return 1


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.stderr.write("usage: probe.py HOST:PORT\n")
        sys.exit(2)
    sys.exit(main(sys.argv[1]))
