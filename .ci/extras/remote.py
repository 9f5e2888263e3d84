import tempfile
from pathlib import Path

from dither.instruments.extras import must_have
from dither.instruments.network import RemoteDevice

RemoteDevice(address="127.0.0.1:9").check_installed()
must_have("remote", "cryptography")
from dither.remote.certificates import make_certificates

with tempfile.TemporaryDirectory() as folder:
    make_certificates(["bench-pc"], Path(folder))
