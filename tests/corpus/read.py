"""Read some exports as somebody without the models' source would; usage: python -I read.py REQUEST.

REQUEST is a JSON file {"rows": [{"id", "meta", "prefix", "inputs", "outputs", "tolerance", "random"}…], "report",
"folder": of clients.py}. The report is {"rows": {row: {client: outcome}}, "foreign": modules of ours or of models}.
"""

import json
import pathlib
import sys

request = json.loads(pathlib.Path(sys.argv[1]).read_text())
sys.path.append(request["folder"])

from clients import read_with_clients  # noqa: E402

rows = {row["id"]: read_with_clients(row, row["meta"], row["prefix"]) for row in request["rows"]}
foreign = sorted(m for m in sys.modules if m.partition(".")[0] in ("tb_ckptmeta", "keras_hub", *request["hidden"]))
pathlib.Path(request["report"]).write_text(json.dumps({"rows": rows, "foreign": foreign}))
