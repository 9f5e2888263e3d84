"""A simulated instrument on a lab network: a chip with 49 inputs behind a SCPI socket.

    python examples/scpi_bench.py 5025

The chip is a noisy network whose weights are voltages. Like a real chip, it takes time to settle,
refuses voltages outside its limits and reports them in its error queue. It needs only NumPy.
"""

import socketserver
import sys
import threading
import time
from itertools import pairwise

import numpy as np

LIMITS = (-4.0, 4.0)  # volts


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


class Chip:
    """Layers of sigmoid neurons. The voltages, biases before weights, relax to their set values."""

    def __init__(self, widths=(49, 4, 4), noise=0.002, settling=0.0, seed=0):
        self.widths, self.noise, self.settling = widths, noise, settling
        self.size = sum((p + 1) * q for p, q in pairwise(widths))
        self.rng = np.random.default_rng(seed)
        self.wanted = self.before = np.zeros(self.size)
        self.since = 0.0
        self.on = False

    def set(self, first, values):
        self.before = self.voltages()
        self.wanted = self.wanted.copy()
        self.wanted[first : first + len(values)] = values
        self.since = time.monotonic()

    def voltages(self):
        """`v(t) = set + (before − set) exp(−t / settling)`; zero while the output is off."""
        if not self.on:
            return np.zeros(self.size)
        left = 0.0
        if self.settling:
            left = np.exp((self.since - time.monotonic()) / self.settling)
        return self.wanted + (self.before - self.wanted) * left

    def outputs(self, inputs):
        x, start, voltages = inputs, 0, self.voltages()
        for p, q in pairwise(self.widths):
            bias, weight = np.split(voltages[start : start + (p + 1) * q], [q])
            x = sigmoid(x @ weight.reshape(p, q) + bias)
            start += (p + 1) * q
        return x + self.rng.normal(0, self.noise, x.shape)


class Refused(Exception):
    """An entry for the error queue."""


class Instrument:
    """The chip's SCPI commands.

    | command | |
    | --- | --- |
    | `*IDN?`, `*RST`, `*CLS`, `*OPC?`, `SYST:ERR?` | standard commands |
    | `OUTP ON`, `OUTP OFF`, `OUTP?` | drive the chip, or keep it at 0 V |
    | `SOUR3:VOLT 1.5`, `SOUR3:VOLT?` | one voltage; channels are numbered from 1 |
    | `SOUR:VOLT:LIST 1.5,-0.2,...` | all voltages |
    | `INP:DATA 0,1,...` | the inputs of one sample, or of several in sequence |
    | `READ?` | the outputs for each sample |

    `voltages_asked` counts all voltages received. `lowest` and `highest` are their extremes. All
    three include refused voltages. `connections` counts the connections.
    """

    def __init__(self, chip):
        self.chip = chip
        self.errors, self.inputs = [], np.zeros((0, chip.widths[0]))
        self.voltages_asked, self.lowest, self.highest = 0, np.inf, -np.inf
        self.connections = 0
        self.silent = False

    def answer(self, message):
        """The answer to a query, None for a command."""
        header, _, text = message.strip().partition(" ")
        try:
            return self._obey(header.upper(), text)
        except Refused as refused:
            self.errors.append(str(refused))
        except ValueError:
            self.errors.append('-104,"Data type error"')
        return None

    def _obey(self, header, text):
        if header.startswith("SOUR") and header.endswith((":VOLT", ":VOLT?")):
            return self._channel(header.removeprefix("SOUR").partition(":")[0], header, text)
        match header:
            case "*IDN?":
                return f"DITHER,CHIP{self.chip.widths[0]},1,1.0"
            case "*RST":
                self.chip.on = False
                self.chip.set(0, np.zeros(self.chip.size))
            case "*CLS":
                self.errors.clear()
            case "*OPC?":
                return "1"
            case "SYST:ERR?":
                return self.errors.pop(0) if self.errors else '0,"No error"'
            case "OUTP":
                self.chip.on = text.strip().upper() in ("ON", "1")
            case "OUTP?":
                return str(int(self.chip.on))
            case "SOUR:VOLT:LIST":
                self._set(0, _numbers(text), self.chip.size)
            case "INP:DATA":
                values = _numbers(text)
                if len(values) % self.chip.widths[0]:
                    raise Refused('-108,"Parameter not allowed"')
                self.inputs = values.reshape(-1, self.chip.widths[0])
            case "READ?":
                outputs = np.nan_to_num(self.chip.outputs(self.inputs), nan=9.91e37)
                return ",".join(f"{y:.9g}" for y in outputs.ravel())
            case _:
                raise Refused(f'-113,"Undefined header;{header}"')
        return None

    def _channel(self, number, header, text):
        channel = int(number) - 1
        if not 0 <= channel < self.chip.size:
            raise Refused('-114,"Header suffix out of range"')
        if header.endswith("?"):
            return f"{self.chip.voltages()[channel]:.9g}"
        self._set(channel, _numbers(text), 1)
        return None

    def _set(self, first, values, wanted):
        if len(values) != wanted:
            raise Refused('-108,"Parameter not allowed"')
        self.voltages_asked += len(values)
        self.lowest = min(self.lowest, values.min())
        self.highest = max(self.highest, values.max())
        if not LIMITS[0] <= values.min() <= values.max() <= LIMITS[1]:
            raise Refused('-222,"Data out of range"')
        self.chip.set(first, values)


def _numbers(text):
    values = np.array([float(number) for number in text.split(",")])
    if not np.all(np.isfinite(values)):
        raise Refused('-222,"Data out of range"')
    return values


class Bench:
    """The instrument on a TCP port: `with Bench(Chip()) as bench: ... bench.port`.

    `pull_cable()` closes all connections and refuses new ones until `plug_in()`. While
    `instrument.silent` is true, commands are executed but queries are not answered.
    """

    def __init__(self, chip, port=0):
        self.instrument = Instrument(chip)
        self.plugged = True
        self.sockets = []
        self.lock = threading.Lock()
        bench = self

        class Handler(socketserver.StreamRequestHandler):
            disable_nagle_algorithm = True

            def handle(self):
                bench.serve(self)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        self.server = Server(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]

    def serve(self, handler):
        if not self.plugged:
            return
        self.sockets.append(handler.connection)
        self.instrument.connections += 1
        try:
            for line in handler.rfile:
                with self.lock:
                    answer = self.instrument.answer(line.decode("ascii", "replace"))
                    if answer is not None and not self.instrument.silent:
                        handler.wfile.write(answer.encode() + b"\n")
        except OSError:
            pass  # the cable was pulled
        finally:
            self.sockets.remove(handler.connection)

    def pull_cable(self):
        self.plugged = False
        for connection in list(self.sockets):
            connection.shutdown(2)

    def plug_in(self):
        self.plugged = True

    def __enter__(self):
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.pull_cable()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def main(port):
    """Serve the chip until Ctrl-C, and pull its cable on request."""
    with Bench(Chip(settling=0.001), port) as bench:
        chip = bench.instrument.chip
        print(f"A chip of {chip.size} voltages listens at 127.0.0.1:{bench.port}.", flush=True)
        print("Type pull or plug for its cable.", flush=True)
        try:
            for line in sys.stdin:
                if line.strip() == "pull":
                    bench.pull_cable()
                elif line.strip() == "plug":
                    bench.plug_in()
            bench.thread.join()
        except KeyboardInterrupt:
            pass
        print(f"{bench.instrument.voltages_asked} voltages were asked for.")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5025)
