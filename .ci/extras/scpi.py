from dither.instruments.scpi import ScpiConnection, ScpiDevice

ScpiDevice(
    ScpiConnection(
        resource="TCPIP0::127.0.0.1::9::SOCKET",
        channels={"volts": {"count": 2, "write": "LIST {values}", "bounds": (-1.0, 1.0)}},
        readings={"present": "DATA {values}", "query": "READ?"},
    )
)
import pyvisa

pyvisa.ResourceManager("@py")
