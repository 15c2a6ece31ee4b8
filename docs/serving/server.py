"""Serve an ONNX file over HTTP with onnxruntime, NumPy and waitress, and nothing else.

    pip install onnxruntime waitress
    python server.py model.onnx --port 8000

    curl localhost:8000/predict --json '{"rows": [{"carrier": "UA", "dest": null, "hour": 7}]}'

Any other server of WSGI can run it too; of gunicorn's processes each has the model that the first
one has loaded, which is safe, since a session of onnxruntime with one thread starts none:

    gunicorn --preload --workers 4 "server:application('model.onnx')"

The answer is {"label": [...], "probabilities": [[...], ...]}, an item for each row. GET / tells the
columns and what they hold. A value that is null is missing; so is a column that a row leaves
out, where its type can say so: whole numbers cannot, unless the file was made from rows among which
some were missing. Whatever else does not fit is answered by a status of 400 or above, with the
reason as {"error": ...}; what is no proper HTTP, waitress refuses in words of its own.
"""

import argparse
import http
import json
import logging
import reprlib
import sys

import numpy as np
import onnxruntime
import waitress

NOTHING = np.iinfo(np.int64).min  # a missing date; fills up lists of whole numbers
MISSING_MEMBER = NOTHING + 1  # of such a list
LARGEST_BODY = 4 * 2**20  # bytes; of one four times as large the connection is closed
MOST_ROWS, MOST_MEMBERS = 10_000, 1_000_000  # of a request; the latter with what fills lists up
SECONDS = 60  # that a client may be silent
THREADS = 8  # requests that are answered at once; further ones wait


class BadRequest(ValueError):
    """What came is not what the file takes."""

    def __init__(self, reason, status=400):
        super().__init__(reason)
        self.status = status


class Model:
    """A file, and what its inputs are called."""

    def __init__(self, path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # requests run in threads of their own
        self.session = onnxruntime.InferenceSession(path, options)
        notes = self.session.get_modelmeta().custom_metadata_map
        missing_string = notes.get("missing_string", "<NA>")
        of_columns = json.loads(notes.get("columns", "{}"))
        self.inputs = {
            entry.name: Input(entry, missing_string, **of_columns.get(entry.name, {}))
            for entry in self.session.get_inputs()
        }

    def columns(self):
        """What each column holds, in words."""
        return {name: column.words for name, column in self.inputs.items()}

    def predict(self, rows):
        """Outputs by name for a list of dicts."""
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise BadRequest("The body must be {'rows': [...]}, a list of objects.")
        if len(rows) > MOST_ROWS:
            raise BadRequest(f"There must be at most {MOST_ROWS} rows, got {len(rows)}.", 413)
        if unknown := {name for row in rows for name in row} - set(self.inputs):
            raise BadRequest(
                f"There are no columns {_short(sorted(unknown))}. They are {self.columns()}."
            )
        feed = {name: column.tensor(rows) for name, column in self.inputs.items()}
        try:
            results = self.session.run(None, feed)
        except Exception as error:  # each of its own class
            raise BadRequest(f"The file does not take these rows: {error}") from error
        names = [output.name for output in self.session.get_outputs()]
        return {name: _listed(name, result) for name, result in zip(names, results, strict=True)}


class Input:
    """One input: makes tensors of the cells of its column.

    What the file tells of a column is what its numbers are, the column of lists of whose
    members it holds the weights, and what separates the parts of its strings.
    """

    def __init__(self, entry, missing_string, unit=None, weights_of=None, separator=None):
        self.name, self.type, self.width = entry.name, entry.type[7:-1], entry.shape[1]
        self.missing_string, self.separator = missing_string, separator
        self.unit, self.weights_of = unit, weights_of
        self.are_lists = not isinstance(self.width, int)
        words = [self.type, unit, weights_of and f"weights of {weights_of!r}"]
        self.words = ", ".join(filter(None, words))
        if self.width != 1:
            length = "" if self.are_lists else f" of length {self.width}"
            self.words = f"list{length} of {self.words}"

    def tensor(self, rows):
        """Cells of this column, a matrix; shorter lists are filled up."""
        lists = [self._list(row) for row in rows]
        width = max(map(len, lists), default=0) if self.are_lists else self.width
        self._check_room(width, lists)
        filler = {"string": "", "int64": NOTHING}.get(self.type, 0.0)
        lists = [members + [filler] * (width - len(members)) for members in lists]
        types = {"double": np.float64, "int64": np.int64, "bool": bool}
        return np.array(lists, dtype=types.get(self.type, object)).reshape(len(lists), width)

    def _list(self, row):
        cell = row.get(self.name)
        if self.width == 1:
            return [self._cell(cell)]
        if self.weights_of:
            cell = self._weights(row, cell)
        if self.are_lists and cell is None:
            cell = [None]
        if not isinstance(cell, list) or (not self.are_lists and len(cell) != self.width):
            required = "lists" if self.are_lists else f"lists of length {self.width}"
            raise BadRequest(f"Column {self.name!r} must hold {required}, got {_short(cell)}.")
        return [self._cell(member) for member in cell]

    def _weights(self, row, weights):
        """The weights of a missing cell are missing; others must be as many as the members."""
        members = row.get(self.weights_of)
        if members is None:
            return None
        weights = [] if weights is None else weights
        lengths = [len(cell) if isinstance(cell, list) else None for cell in (members, weights)]
        if None in lengths or lengths[0] != lengths[1] or None in weights:
            raise BadRequest(
                f"Column {self.name!r} must hold a list of as many numbers as {self.weights_of!r} "
                f"has members, got {_short(weights)} for {_short(members)}."
            )
        return weights

    def _check_room(self, width, lists):
        """Each list takes the room of the longest."""
        if self.separator and not self.are_lists:
            width = max((cell.count(self.separator) + 1 for [cell] in lists), default=0)
        if width * len(lists) > MOST_MEMBERS:
            raise BadRequest(
                f"Column {self.name!r} must hold at most {MOST_MEMBERS} members, where each row "
                f"counts as the longest does, got {width} times {len(lists)}. Send fewer rows.",
                413,
            )

    def _cell(self, value):
        if self.unit == "booleans" and value is not None:
            required, result = self._bool(value)
        else:
            required, result = getattr(self, f"_{self.type}")(value)
        if result is None:
            raise BadRequest(f"Column {self.name!r} must hold {required}, got {_short(value)}.")
        return result

    def _string(self, value):
        if value is None:
            return "", self.missing_string
        taken = [self.missing_string, *([""] if self.are_lists else [])]
        required = f"a string or null, but none of {taken}, which stand for other things"
        parts = [value]
        if isinstance(value, str) and self.separator:
            parts = value.split(self.separator)
        is_right = isinstance(value, str) and not any(part in taken for part in parts)
        return required, value if is_right else None

    def _double(self, value):
        if value is None:
            return "", np.nan
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        is_right = is_number and abs(value) <= sys.float_info.max
        return "a finite number or null", value if is_right else None

    def _int64(self, value):
        are_dates = self.unit == "microseconds"
        if value is None and (are_dates or self.are_lists):
            return "", MISSING_MEMBER if self.are_lists else NOTHING
        least = MISSING_MEMBER + 1 if self.are_lists else NOTHING + are_dates
        is_number = isinstance(value, int) and not isinstance(value, bool)
        is_right = is_number and least <= value < 2**63
        return f"a whole number from {least} to 2**63 - 1", value if is_right else None

    def _bool(self, value):
        return "true or false", value if isinstance(value, bool) else None


def _short(value):
    return reprlib.repr(value)


def _listed(name, result):
    """JSON has no NaN: it is a missing number of an encoder, and no answer of a model."""
    if result.dtype.kind != "f" or np.isfinite(result).all():
        return result.tolist()
    if name.startswith("codes_"):
        return np.where(np.isfinite(result), result.astype(object), None).tolist()
    row = int(np.flatnonzero(~np.isfinite(result).all(axis=1))[0])
    raise BadRequest(
        f"The model has no answer for row {row}: weights of the members of lists must be numbers "
        f"that are not negative and fit float32."
    )


def application(path):
    """The application of WSGI that answers for a file."""
    model = Model(path)

    def answer(environ, start_response):
        try:
            status, content = 200, _content(model, environ)
        except (ValueError, RecursionError) as error:  # of ours, of json
            status, content = getattr(error, "status", 400), {"error": str(error)}
        body = json.dumps(content).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        start_response(f"{status} {http.HTTPStatus(status).phrase}", headers)
        return [body]

    return answer


def _content(model, environ):
    """What a request is answered with."""
    path, method = environ.get("PATH_INFO", ""), environ["REQUEST_METHOD"]
    methods = {"/": "GET", "/predict": "POST"}
    if path not in methods:
        raise BadRequest("GET / tells the columns, POST {'rows': [...]} to /predict predicts.", 404)
    if method != methods[path]:
        raise BadRequest(f"{path} takes {methods[path]}, got {_short(method)}.", 405)
    if path == "/":
        return {"columns": model.columns()}
    body = json.loads(_body(environ))
    if not isinstance(body, dict) or set(body) != {"rows"}:
        raise BadRequest("The body must be {'rows': [...]}, and hold nothing else.")
    return model.predict(body["rows"])


def _body(environ):
    # The server has read it, whatever way it came, and says how long it is.
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if length > LARGEST_BODY:
        raise BadRequest(f"The body must have at most {LARGEST_BODY} bytes.", 413)
    return environ["wsgi.input"].read(length)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0: any free one")
    options = parser.parse_args()
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # requests may wait
    server = waitress.create_server(
        application(options.path),
        host=options.host,
        port=options.port,
        threads=THREADS,
        channel_timeout=SECONDS,
        max_request_header_size=2**16,
        max_request_body_size=4 * LARGEST_BODY,
        ident=None,
    )
    print(f"http://{options.host}:{server.effective_port}", flush=True)
    server.run()


if __name__ == "__main__":
    main()
