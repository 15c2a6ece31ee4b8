"""Serve an ONNX file over HTTP with onnxruntime and NumPy alone.

    pip install onnxruntime
    python server.py model.onnx --port 8000

    curl localhost:8000/predict --json '{"rows": [{"carrier": "UA", "dest": null, "hour": 7}]}'

The answer is {"label": [...], "probabilities": [[...], ...]}, an item for each row. GET / tells the
names and types of the columns. A value that is null is missing; so is a column that a row leaves
out, where its type can say so: whole numbers cannot, unless the file was made from rows among which
some were missing.
"""

import argparse
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import onnxruntime

NOTHING = np.iinfo(np.int64).min  # fills up lists of whole numbers
LARGEST_BODY = 16 * 2**20  # bytes


class BadRequest(ValueError):
    """What came is not what the file takes."""


class Model:
    """A file, and what its inputs are called."""

    def __init__(self, path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # requests run in threads of their own
        self.session = onnxruntime.InferenceSession(path, options)
        metadata = self.session.get_modelmeta().custom_metadata_map
        self.missing_string = metadata.get("missing_string", "<NA>")

    def columns(self):
        """Name and type of each column."""
        return {i.name: i.type + "s" * (i.shape[1] != 1) for i in self.session.get_inputs()}

    def predict(self, rows):
        """Outputs by name for a list of dicts."""
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise BadRequest("The body must be {'rows': [...]}, a list of objects.")
        entries = self.session.get_inputs()
        if unknown := {name for row in rows for name in row} - {i.name for i in entries}:
            raise BadRequest(f"There are no columns {sorted(unknown)}. They are {self.columns()}.")
        feed = {i.name: self._tensor(i, [row.get(i.name) for row in rows]) for i in entries}
        names = [output.name for output in self.session.get_outputs()]
        return dict(zip(names, map(np.ndarray.tolist, self.session.run(None, feed)), strict=True))

    def _tensor(self, entry, cells):
        if entry.shape[1] != 1:
            return self._lists(entry, cells)
        return np.array(
            [self._cell(entry, cell) for cell in cells], dtype=_dtype(entry.type)
        ).reshape(-1, 1)

    def _lists(self, entry, cells):
        filler = {"tensor(string)": "", "tensor(int64)": NOTHING}.get(entry.type, 0.0)
        lists = [[None] if cell is None else cell for cell in cells]
        if not all(isinstance(cell, list) for cell in lists):
            raise BadRequest(f"Column {entry.name!r} must hold lists.")
        lists = [[self._cell(entry, member) for member in cell] for cell in lists]
        width = max(map(len, lists), default=0)
        lists = [[*cell, *[filler] * (width - len(cell))] for cell in lists]
        return np.array(lists, dtype=_dtype(entry.type)).reshape(len(lists), width)

    def _cell(self, entry, value):
        if entry.type == "tensor(string)":
            required, is_right = "a string or null", isinstance(value, str) or value is None
            result = self.missing_string if value is None else value
        elif entry.type == "tensor(double)":
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            required = "a finite number or null"
            is_right = value is None or (is_number and abs(value) <= sys.float_info.max)
            result = np.nan if value is None else value
        elif entry.type == "tensor(bool)":
            required, is_right, result = "true or false", isinstance(value, bool), value
        else:
            is_number = isinstance(value, int) and not isinstance(value, bool)
            required, is_right = "a whole number", is_number and abs(value) < 2**63
            result = value
        if not is_right:
            raise BadRequest(f"Column {entry.name!r} must hold {required}, got {value!r}.")
        return result


def _dtype(type_):
    types = {"tensor(double)": np.float64, "tensor(int64)": np.int64, "tensor(bool)": bool}
    return types.get(type_, object)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    model = None

    def do_GET(self):
        self._answer(200, {"columns": self.model.columns()})

    def do_POST(self):
        try:
            body = json.loads(self._body())
            if self.path != "/predict" or not isinstance(body, dict) or set(body) != {"rows"}:
                raise BadRequest("POST {'rows': [...]} to /predict.")
            self._answer(200, self.model.predict(body["rows"]))
        except (ValueError, RecursionError) as error:  # of ours, of json, of half a character
            self._answer(400, {"error": str(error)})

    def _body(self):
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > LARGEST_BODY:
            self.close_connection = True  # for what was sent is not read
            raise BadRequest(f"Content-Length must be given, and at most {LARGEST_BODY} bytes.")
        return self.rfile.read(int(length))

    def _answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        """Say nothing about each request."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0: any free one")
    options = parser.parse_args()
    Handler.model = Model(options.path)
    server = ThreadingHTTPServer((options.host, options.port), Handler)
    print(f"http://{options.host}:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
