"""Serve a fitted Pipeline from several processes that share one copy of it in memory.

    pip install gunicorn
    gunicorn --preload --workers 4 "preload:application('model.deepfm')"

    curl localhost:8000 --json '{"rows": [{"carrier": "UA", "dest": null, "hour": 7}]}'

The first process loads the model, and the others are forked from it. A fork has none of the threads
of its parent, but the list that OpenMP keeps of them: if the parent has ever computed with several,
the first prediction of a fork waits for them for ever. So there is one thread from the start; the
processes use the other cores.
"""

import json

import pandas as pd
import torch

from sklearn_deepfm import load_model


def application(path):
    """The application of WSGI that answers for a classifier behind an encoder."""
    torch.set_num_threads(1)  # before the first step of work, which is why it stands here
    model = load_model(path)

    def answer(environ, start_response):
        try:
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            rows = pd.DataFrame(json.loads(body)["rows"], columns=[*model.feature_names_in_])
            status, content = "200 OK", {"probabilities": model.predict_proba(rows).tolist()}
        except (KeyError, TypeError, ValueError) as error:  # of json, of pandas, of the model
            status, content = "400 Bad Request", {"error": f"{type(error).__name__}: {error}"}
        start_response(status, [("Content-Type", "application/json")])
        return [json.dumps(content).encode()]

    return answer
