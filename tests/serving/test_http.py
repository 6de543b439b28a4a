"""What is asked over HTTP: a person's things, tensors, errors in a line, and who may ask."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served import Server, form, png

import shendu
from shendu import serving

HOUSE = Path(serving.__file__).parent


def predicted(runs: dict[str, Path], name: str, *inputs: Any) -> list[dict[str, Any]]:
    """What `shendu predict` says, without the rows' names."""
    rows = shendu.predict(runs[name], *inputs, device="cpu", precision="fp32", say=lambda line: None)
    return [{key: value for key, value in row.items() if key != "input"} for row in rows]


def same(one: Any, other: Any) -> None:
    """Equal but for the last digits of numbers."""
    if isinstance(one, float):
        assert one == pytest.approx(other, abs=1e-5)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            same(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            same(a, b)
    else:
        assert one == other


# ---- what a person has


def test_a_picture_in_every_form_says_what_predict_says(
    server: Server, runs: dict[str, Path], pictures: np.ndarray, tmp_path: Path
) -> None:
    file = tmp_path / "one.png"
    file.write_bytes(png(pictures[3]))
    wanted = predicted(runs, "digits", file)
    data = file.read_bytes()
    body, kind = form(("file", "one.png", data))
    coded = base64.b64encode(data).decode()
    for said in (
        server.ask("/predict?model=digits", body, content_type=kind),
        server.ask("/predict?model=digits", data, content_type="image/png"),
        server.ask("/predict", {"model": "digits", "inputs": [coded]}),
        server.ask("/predict", {"model": "digits", "input": f"data:image/png;base64,{coded}"}),
        server.ask("/predict", {"model": "digits", "inputs": [pictures[3].tolist()]}),
    ):
        assert said.status == 200, said.body
        same(said.json["predictions"], wanted)
        assert said.json["hash"] == said.headers["x-model-hash"]
        assert said.json["request"] == said.headers["x-request-id"]


def test_several_files_are_several_rows(server: Server, runs: dict[str, Path], pictures: np.ndarray) -> None:
    body, kind = form(*(("file", f"{i}.png", png(pictures[i])) for i in range(5)))
    said = server.ask("/predict?model=digits", body, content_type=kind).json
    same(said["predictions"], predicted(runs, "digits", pictures[:5]))


def test_a_row_in_every_form_says_what_predict_says(server: Server, runs: dict[str, Path]) -> None:
    row = {"age": 30, "job": "nurse"}
    wanted = predicted(runs, "people", [row])
    body, kind = form(("age", "", b"30"), ("job", "", b"nurse"), ("model", "", b"people"))
    table, table_kind = form(("file", "rows.csv", b"age,job\n30,nurse\n61,baker\n"))
    same(server.ask("/predict", {"model": "people", "inputs": [row]}).json["predictions"], wanted)
    same(server.ask("/predict", body, content_type=kind).json["predictions"], wanted)
    same(
        server.ask("/predict?model=people", b"age,job\n30,nurse\n", content_type="text/csv").json["predictions"], wanted
    )
    two = server.ask("/predict?model=people", table, content_type=table_kind).json["predictions"]
    same(two, predicted(runs, "people", [row, {"age": 61, "job": "baker"}]))


def test_cells_that_cannot_be_read_are_told(server: Server) -> None:
    rows = [{"age": "old", "job": "nurse"}, {"age": "30", "job": "nurse"}]
    said = server.ask("/predict", {"model": "people", "inputs": rows}).json
    assert any("age" in note and "cannot be read" in note for note in said["notes"])


def test_a_text_is_weighed(server: Server, runs: dict[str, Path]) -> None:
    text = "one two three four five"
    said = server.ask("/predict", {"model": "counting", "inputs": [text]}).json
    same(said["predictions"], predicted(runs, "counting", text))


def test_a_text_is_never_a_path(server: Server, tmp_path: Path) -> None:
    secret = tmp_path / "one two.txt"
    secret.write_text("one one one one")
    for name in (str(secret), "/etc/hostname", "digits"):
        said = server.ask("/predict", {"model": "counting", "inputs": [name]})
        assert b"one one" not in said.body
        assert said.status == 400 or set(said.json["predictions"][0]) == {"nats", "perplexity"}
    for name in (str(secret), "http://127.0.0.1/x.png", "file:///etc/hostname"):
        assert server.ask("/predict", {"model": "digits", "inputs": [name]}).status == 400
        assert server.ask("/predict", {"model": "people", "inputs": name}).status == 400


def test_an_answer_is_explained(server: Server, pictures: np.ndarray) -> None:
    picture = server.ask("/explain", {"model": "digits", "inputs": [pictures[0].tolist()]}).json
    assert picture["explanations"]["x"]["form"] == "heat"
    assert picture["explanations"]["x"]["heat"].startswith("data:image/png;base64,")
    row = server.ask("/explain", {"model": "people", "inputs": [{"age": 30, "job": "nurse"}]}).json
    assert {part["name"] for part in row["explanations"]["x"]["parts"]} == {"age = 30", "job = nurse"}
    assert row["predictions"][0]["label"] in ("high", "low")
    assert server.ask("/explain", {"model": "counting", "inputs": ["one"]}).json["explanations"] == {}


# ---- tensors


def test_tensors_in_json_and_as_bytes_say_the_same(server: Server, runs: dict[str, Path], pictures: np.ndarray) -> None:
    some = pictures[:4]
    about = server.ask("/v2/models/digits").json
    (x,) = about["inputs"]
    assert (x["name"], x["datatype"], x["shape"]) == ("x", "UINT8", [-1, 8, 8, 1])
    plain = {"name": "x", "datatype": "UINT8", "shape": list(some.shape)}
    said = server.ask("/v2/models/digits/infer", {"id": "a", "inputs": [{**plain, "data": some.tolist()}]})
    assert said.status == 200
    assert said.json["id"] == "a"
    assert said.json["model_version"] == about["versions"][0]
    outputs = {each["name"]: each for each in said.json["outputs"]}
    assert set(outputs) == {each["name"] for each in about["outputs"]}
    wanted = predicted(runs, "digits", some)
    assert outputs["label"]["data"] == [row["label"] for row in wanted]
    head = {
        "inputs": [{**plain, "parameters": {"binary_data_size": some.nbytes}}],
        "outputs": [{"name": "logits", "parameters": {"binary_data": True}}, {"name": "label"}],
    }
    raw = json.dumps(head).encode()
    got = server.ask(
        "/v2/models/digits/versions/" + about["versions"][0] + "/infer", raw + some.tobytes(),
        inference_header_content_length=str(len(raw)),
    )  # fmt: skip
    assert got.status == 200, got.body
    size = int(got.headers["inference-header-content-length"])
    told = json.loads(got.body[:size])
    assert [each["name"] for each in told["outputs"]] == ["logits", "label"]
    logits = np.frombuffer(got.body[size:], np.float32).reshape(told["outputs"][0]["shape"])
    assert np.allclose(logits.reshape(-1), outputs["logits"]["data"], atol=1e-5)


def test_columns_and_files_are_tensors_too(server: Server, runs: dict[str, Path], pictures: np.ndarray) -> None:
    columns = [
        {"name": "age", "datatype": "INT64", "shape": [2, 1], "data": [30, 61]},
        {"name": "job", "datatype": "BYTES", "shape": [2], "data": ["nurse", "baker"]},
    ]
    said = server.ask("/v2/models/people/infer", {"inputs": columns}).json
    outputs = {each["name"]: each["data"] for each in said["outputs"]}
    wanted = predicted(runs, "people", [{"age": 30, "job": "nurse"}, {"age": 61, "job": "baker"}])
    assert outputs["label"] == [row["label"] for row in wanted]
    file = png(pictures[0])
    size = len(file) + 4
    head = {"inputs": [{"name": "x", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": size}}]}
    raw = json.dumps(head).encode()
    got = server.ask(
        "/v2/models/digits/infer", raw + len(file).to_bytes(4, "little") + file,
        inference_header_content_length=str(len(raw)),
    )  # fmt: skip
    assert next(each["data"] for each in got.json["outputs"] if each["name"] == "label") == [
        predicted(runs, "digits", pictures[:1])[0]["label"]
    ]


BROKEN: list[dict[str, Any]] = [
    {}, {"inputs": []}, {"inputs": [{}]}, {"inputs": {"x": 1}}, {"inputs": [{"name": "x"}]},
    {"inputs": [{"name": "x", "datatype": "UINT8", "shape": [1, 8, 8, 1], "data": [1, 2]}]},
    {"inputs": [{"name": "x", "datatype": "UINT8", "shape": [-1, 8, 8, 1], "data": [0] * 64}]},
    {"inputs": [{"name": "x", "datatype": "UINT8", "shape": [0, 8, 8, 1], "data": []}]},
    {"inputs": [{"name": "x", "datatype": "UINT8", "shape": [1, 8, 8, 1], "data": [300] * 64}]},
    {"inputs": [{"name": "x", "datatype": "UINT9", "shape": [1, 8, 8, 1], "data": [0] * 64}]},
    {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 8, 8, 1], "data": [0.5] * 64}]},
    {"inputs": [{"name": "x", "datatype": "BYTES", "shape": [1], "data": ["hello"]}]},
    {"inputs": [{"name": "y", "datatype": "UINT8", "shape": [1, 8, 8, 1], "data": [0] * 64}]},
    {"inputs": [{"name": "x", "datatype": "UINT8", "shape": [2**40, 2**40], "data": [0]}]},
    {"inputs": [{"name": "x", "datatype": "UINT8", "shape": [1, 8, 8, 1], "parameters": {"binary_data_size": 64}}]},
    {"inputs": [{"name": "x", "datatype": "UINT8", "shape": [1, 8, 8, 1], "data": [[["a"]]]}]},
]  # fmt: skip


@pytest.mark.parametrize("body", BROKEN)
def test_tensors_that_do_not_fit_are_told_in_a_line(server: Server, body: dict[str, Any]) -> None:
    said = server.ask("/v2/models/digits/infer", body)
    assert said.status == 400, said.body
    assert "\n" not in said.json["error"]
    assert len(said.json["error"]) < 400


def test_health_and_what_is_not_there(server: Server) -> None:
    assert server.ask("/v2/health/live").json == {"live": True}
    assert server.ask("/v2/health/ready").json == {"ready": True}
    assert server.ask("/v2").json["name"] == "shendu"
    assert server.ask("/v2/models/digits/ready").json == {"name": "digits", "ready": True}
    said = server.ask("/v2/models/digit")
    assert said.status == 404
    assert "did you mean 'digits'" in said.json["error"]
    assert server.ask("/v2/models/digits/versions/1").status == 404
    assert server.ask("/nothing").status == 404
    assert server.ask("/predict").status == 405


# ---- who may ask, and how much


def test_a_token_is_needed_where_there_is_one(starting: Callable[..., Server], pictures: np.ndarray) -> None:
    server = starting("digits", token="a-token-of-some-length", hosts=())
    body = {"inputs": [pictures[0].tolist()]}
    for path in ("/predict", "/v2/models/digits/infer", "/v1/completions", "/mcp"):
        assert server.ask(path, body).status == 401
        assert server.ask(path, body, authorization="Bearer a-token-of-some-lengtH").status == 401
    for path in ("/models", "/metrics", "/openapi.json"):
        assert server.ask(path).status == 401
    assert server.ask("/predict", body, authorization="Bearer a-token-of-some-length").status == 200
    for path in ("/", "/docs", "/v2/health/live", "/v2/health/ready"):
        assert server.ask(path).status == 200


def test_other_names_and_other_origins_are_refused(server: Server) -> None:
    assert server.ask("/models", host="evil.example").status == 421
    assert server.ask("/models", origin="https://evil.example").status == 403
    assert server.ask("/models", origin="null").status == 403
    assert server.ask("/models", origin=f"http://127.0.0.1:{server.port}").status == 200
    answer = server.ask("/models", origin=f"http://127.0.0.1:{server.port}")
    assert not any(name.startswith("access-control") for name in answer.headers)


def test_what_fails_inside_is_not_told(server: Server, monkeypatch: pytest.MonkeyPatch, pictures: np.ndarray) -> None:
    def broken(stored: Any) -> Any:
        raise RuntimeError("/home/someone/secret.py: boom")

    monkeypatch.setattr(server.state.models["digits"].loaded.predictor, "pieces", broken)
    said = server.ask("/predict", {"model": "digits", "inputs": [pictures[0].tolist()]})
    assert said.status == 500
    assert b"secret" not in said.body
    assert said.json["request"] == said.headers["x-request-id"]


def test_a_request_has_an_id(server: Server) -> None:
    assert server.ask("/models", x_request_id="mine-1").headers["x-request-id"] == "mine-1"
    assert re.fullmatch(r"[0-9a-f]{32}", server.ask("/models", x_request_id="not an id\t").headers["x-request-id"])


def test_requests_are_counted(server: Server, pictures: np.ndarray) -> None:
    server.ask("/predict", {"model": "digits", "inputs": [pictures[0].tolist()]})
    told = server.ask("/metrics").body.decode()
    found = re.search(r'shendu_requests_total\{model="digits",route="/predict",status="200"\} (\d+)', told)
    assert found
    assert int(found[1]) >= 1
    assert 'shendu_batch_rows_count{model="digits"}' in told


# ---- pages


def test_pages_need_no_network(server: Server) -> None:
    for path in ("/", "/docs"):
        said = server.ask(path)
        assert said.status == 200
        assert "default-src 'none'" in said.headers["content-security-policy"]
        assert not re.findall(r"""(?:src|href)=["'](?!data:|#|docs|openapi\.json|\./)""", said.body.decode())
        assert b"http://" not in said.body
        assert b"https://" not in said.body


def test_the_page_of_paths_has_all_of_them(server: Server) -> None:
    paths = server.ask("/openapi.json").json["paths"]
    for path in ("/predict", "/explain", "/v2/models/{name}/infer", "/v1/chat/completions", "/mcp", "/metrics"):
        assert path in paths
    assert all(one["summary"] for methods in paths.values() for one in methods.values())


def test_what_a_page_asks_a_person_for(server: Server) -> None:
    asks = {one["name"]: one["asks"]["x"] for one in server.ask("/models").json}
    assert asks["digits"] == {"as": "picture", "height": 8, "width": 8, "channels": 1}
    assert [column["name"] for column in asks["people"]["columns"]] == ["age", "job"]
    assert asks["people"]["columns"][1]["choices"] == ["baker", "nurse"]
    page = (HOUSE / "page.html").read_text(encoding="utf-8")
    for one in asks.values():
        assert re.search(rf"\b{one['as']}\b[:(,]", page), "the page knows how to ask for it"


def test_what_a_client_sends_is_read_by_who_reads_such_files(tmp_path: Path) -> None:
    """A text's file, a table with a column of texts, sentences, letters, a series: each as its reader reads it, and nothing else."""
    from shendu.data.fields.prose import Prose
    from shendu.data.fields.row import Row
    from shendu.data.fields.sentence import Sentence
    from shendu.data.fields.sequence import Sequence
    from shendu.data.fields.series import Series
    from shendu.data.fields.text import Text
    from shendu.serving.inputs import Sent, file_as_values

    def values(field: Any, name: str, data: bytes) -> Any:
        return file_as_values(Sent(name, data), {"x": field})["x"]

    words = Text(names=("good", "bad"), length=4)
    assert words.parse(values(words, "a.txt", b"good bad"))[""].tolist() == [[2, 3, 0, 0]]
    column = Text(names=("good", "bad"), length=4, column="review")
    table = b"id,review\n1,good\n2,bad good\n"
    assert column.parse(values(column, "a.csv", table))[""].tolist() == [[2, 0, 0, 0], [3, 2, 0, 0]]
    assert values(Sentence(), "a.txt", b"Ein Mann.\n\nZwei.\n") == ["Ein Mann.", "Zwei."]
    assert values(Sequence(letters=tuple("ACGT"), length=4), "", b"ACGT\nGG\n") == ["ACGT", "GG"]
    assert bytes(Prose().parse(values(Prose(), "a.txt", b"one"))[""]) == b"one"
    series = Series(window=3, horizon=2, time="day", value="v", unit="number")
    assert list(values(series, "a.csv", b"day,v\n1,5\n2,6\n3,7\n4,8\n"))[-3:] == [6, 7, 8]
    for field, name, data in (
        (Row(columns=()), "a.zip", b"PK\x03\x04"),
        (series, "a.txt", b"1"),
        (Sentence(), "a", b""),
    ):
        with pytest.raises(shendu.UserError):
            values(field, name, data)
