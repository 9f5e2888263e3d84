"""A device on the network: served where its instruments are, trained from elsewhere.

Messages are msgpack, each after its length, over TCP or TLS. `server` and what it imports need
Python, NumPy, jaxtyping and msgpack, and no JAX.
"""

from dither.remote.writes import Writes as Writes
from dither.remote.writes import read_record as read_record
