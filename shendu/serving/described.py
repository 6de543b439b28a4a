"""What the OpenAPI page says of each path: its body, its answers."""

from __future__ import annotations

from typing import Any

JSON = "application/json"
REFUSALS = {
    400: "The request does not fit: `error` says why, and what to send instead.", 401: "A token is needed.",
    403: "Not for pages of other origins.",
    404: "There is no such model.", 408: "The body did not come in time.", 413: "More was sent than is read.",
    429: "No room, or the answer would come later than promised: Retry-After says when to ask again.",
}  # fmt: skip
ANY: dict[str, Any] = {}
TEXT = {"type": "string"}
ROWS = {
    "type": "object", "properties": {"model": TEXT, "inputs": {"type": "array", "items": ANY, "minItems": 1}}, "required": ["inputs"],
    "example": {"inputs": ["a sentence, or a row as an object, or a file in base64"]},
}  # fmt: skip
FILES = {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}
WHOLE = {"type": "string", "format": "binary"}
ASKED = {
    JSON: {"schema": ROWS}, "multipart/form-data": {"schema": FILES}, "image/png": {"schema": WHOLE}, "image/jpeg": {"schema": WHOLE},
    "audio/wav": {"schema": WHOLE}, "text/csv": {"schema": TEXT}, "text/plain": {"schema": TEXT},
}  # fmt: skip
DATATYPES = [
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES",
]  # fmt: skip
TENSOR = {
    "type": "object", "required": ["name", "shape", "datatype"],
    "properties": {
        "name": TEXT, "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "datatype": {"enum": DATATYPES},
        "data": {"type": "array", "items": ANY}, "parameters": {"type": "object"},
    },
}  # fmt: skip
INFER = {
    "type": "object", "required": ["inputs"],
    "properties": {
        "id": TEXT, "inputs": {"type": "array", "items": TENSOR, "minItems": 1}, "parameters": {"type": "object"},
        "outputs": {"type": "array", "items": {"type": "object", "required": ["name"], "properties": {"name": TEXT}}},
    },
}  # fmt: skip
WRITING = {
    "model": TEXT, "max_tokens": {"type": "integer", "minimum": 1}, "temperature": {"type": "number", "minimum": 0},
    "top_p": {"type": "number"}, "top_k": {"type": "integer", "minimum": 0}, "n": {"type": "integer", "minimum": 1},
    "stop": {"anyOf": [TEXT, {"type": "array", "items": TEXT}]}, "seed": {"type": "integer"}, "stream": {"type": "boolean"},
}  # fmt: skip
MESSAGE = {"type": "object", "required": ["role", "content"], "properties": {"role": TEXT, "content": TEXT}}
BODIES: dict[str, dict[str, Any]] = {
    "/predict": ASKED, "/explain": ASKED,
    "/v1/completions": {JSON: {"schema": {"type": "object", "required": ["prompt"], "properties": {"prompt": TEXT, **WRITING}}}},
    "/v1/chat/completions": {JSON: {"schema": {
        "type": "object", "required": ["messages"], "properties": {"messages": {"type": "array", "items": MESSAGE}, **WRITING},
    }}},
    "/v1/embeddings": {JSON: {"schema": {
        "type": "object", "required": ["input"],
        "properties": {"model": TEXT, "input": {"anyOf": [TEXT, {"type": "array", "items": TEXT}]}},
    }}},
    "/mcp": {JSON: {"schema": {
        "type": "object", "required": ["jsonrpc", "method"],
        "properties": {"jsonrpc": {"const": "2.0"}, "id": ANY, "method": TEXT, "params": {"type": "object"}},
    }}},
}  # fmt: skip
MODEL = [
    {
        "name": "model",
        "in": "query",
        "schema": TEXT,
        "required": False,
        "description": "Which model, where several are served.",
    }
]


def of(method: str, path: str, handler: Any) -> dict[str, Any]:
    """What FastAPI is told of a path."""
    infers = path.endswith("/infer")
    body = {JSON: {"schema": INFER}} if infers else BODIES.get(path)
    extra: dict[str, Any] = {"requestBody": {"content": body, "required": True}} if body else {}
    if path in ("/predict", "/explain"):
        extra["parameters"] = MODEL
    group = (
        "tensors"
        if path.startswith("/v2")
        else "texts"
        if path.startswith("/v1")
        else "agents"
        if path == "/mcp"
        else "models"
    )
    return {
        "summary": " ".join((handler.__doc__ or "").split()), "tags": [group], "openapi_extra": extra,
        "operation_id": f"{handler.__name__}_{path.strip('/').replace('/', '_').replace('{', '').replace('}', '')}",
        "responses": {code: {"description": why} for code, why in REFUSALS.items()},
    }  # fmt: skip
