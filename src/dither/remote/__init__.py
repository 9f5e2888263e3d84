"""A device on the network: served where its instruments are, trained from elsewhere.

The transport is gRPC, the messages are msgpack. `server` and what it imports need Python, NumPy,
jaxtyping, grpcio and msgpack, and no JAX.
"""

import os

from dither.remote.writes import Writes as Writes
from dither.remote.writes import read_record as read_record

# what strangers send must not fill the log; read by gRPC when it is first imported
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
