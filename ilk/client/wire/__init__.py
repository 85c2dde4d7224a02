"""Knows how Ilk's values look on the wire, seen from the caller: requests, responses, refusals.

It refuses to know channels, deadlines and who is asked: those are the clients'. It needs grpcio and
protobuf, and nothing of the server.
"""
