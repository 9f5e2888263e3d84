"""A device on the network, served by the lab's computer and trained from another one.

Messages are msgpack, each preceded by its length, over TCP or TLS. `server` and its imports need
Python, NumPy, jaxtyping and msgpack, but not JAX.
"""

from dither.remote.writes import Writes as Writes
from dither.remote.writes import read_record as read_record
