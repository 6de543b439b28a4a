"""Serving side by side with what tutorials write, each comparison in one run on this machine.

    python bench/serving.py requests [--clients 64] [--seconds 10] [--rounds 3] [--workers 1]
    python bench/serving.py tokens [--clients 8] [--seconds 15] [--rounds 3]

`requests`: requests per second and their times, of a LeNet on MNIST's size that is sent PNG files in forms, by `shendu serve` (/predict)
and by FastAPI with torch as tutorials write it (an endpoint that opens the picture and calls the model). `tokens`: tokens per
second of GPT in nanoGPT's configuration for a processor (4 layers of width 128, 64 characters), written for several clients at
once, by `shendu serve` (/v1/completions) and by Hugging Face's `generate` behind FastAPI, of equal sizes. Weights are random:
speed does not depend on them. Precision is float32 on both sides (Shendu's linear layers of texts are float16 from a million
weights on, which these have not). Servers are processes of their own, and so are the clients; rounds are interleaved. Leave the
machine alone meanwhile.
"""

import argparse
import asyncio
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

SIDE, VOCABULARY, CONTEXT, LENGTH = 28, 65, 64, 200
SIZES = {"layers": 4, "heads": 4, "width": 128, "context": CONTEXT}
PROMPT = "ROMEO:\nWhat"


# ---- models ----------------------------------------------------------------------------------------------------------


def made(folder: Path) -> None:
    """A LeNet and a GPT, hardly trained."""
    import numpy as np

    import shendu

    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (256, SIDE, SIDE), dtype=np.uint8), rng.integers(0, 10, 256)
    shendu.train("lenet", (x, y), steps=2, out=folder / "lenet", quiet=True, precision="fp32", device="cpu")
    letters = "\n !$&',-.3:;?" + "".join(chr(65 + i) + chr(97 + i) for i in range(26))
    (folder / "text.txt").write_text("".join(rng.choice(list(letters), 20_000)), encoding="utf-8")
    shendu.train(
        "gpt", folder / "text.txt", steps=2, out=folder / "gpt", quiet=True, precision="fp32", device="cpu", **SIZES
    )


def tutorial_pictures(port: int) -> None:
    """FastAPI and torch, as tutorials write it."""
    import torch
    import uvicorn
    from fastapi import FastAPI, File, UploadFile
    from PIL import Image
    from torch import nn

    class LeNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(
                nn.Conv2d(1, 6, 5, padding=2),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Conv2d(6, 16, 5),
                nn.ReLU(),
                nn.MaxPool2d(2),
            )
            self.decide = nn.Sequential(
                nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)
            )

        def forward(self, x: Any) -> Any:
            return self.decide(self.features(x).flatten(1))

    model, app = LeNet().eval(), FastAPI()

    @app.post("/predict")
    async def predict(file: UploadFile = File(...)) -> dict[str, Any]:  # noqa: B008
        image = Image.open(io.BytesIO(await file.read())).convert("L").resize((SIDE, SIDE))
        x = (torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(1, 1, SIDE, SIDE) / 255 - 0.13) / 0.31
        with torch.no_grad():
            shares = model(x).softmax(1)[0]
        return {"label": int(shares.argmax()), "probabilities": shares.tolist()}

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


def tutorial_texts(port: int) -> None:
    """Hugging Face's generate behind FastAPI."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    import torch
    import torchvision_shim  # noqa: F401
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel
    from transformers import GPT2Config, GPT2LMHeadModel

    class Asked(BaseModel):
        prompt: str
        max_tokens: int = LENGTH
        seed: int = 0

    sizes = GPT2Config(
        vocab_size=VOCABULARY, n_positions=1024, n_embd=SIZES["width"], n_layer=SIZES["layers"], n_head=SIZES["heads"]
    )
    model, app = GPT2LMHeadModel(sizes).eval(), FastAPI()

    @app.post("/generate")
    def generate(asked: Asked) -> dict[str, Any]:
        tokens = torch.tensor([[ord(sign) % VOCABULARY for sign in asked.prompt]])
        with torch.no_grad():
            found = model.generate(
                tokens,
                max_new_tokens=asked.max_tokens,
                do_sample=True,
                temperature=0.8,
                pad_token_id=0,
                eos_token_id=None,
            )
        return {"tokens": found[0, tokens.shape[1] :].tolist()}

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


# ---- clients ---------------------------------------------------------------------------------------------------------


def request_of(what: str) -> bytes:
    """A request's bytes."""
    if what in ("shendu-pictures", "fastapi-pictures"):
        from PIL import Image

        out = io.BytesIO()
        Image.effect_noise((SIDE, SIDE), 80).save(out, "png")
        head = (
            b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
        )
        body, kind, path = head + out.getvalue() + b"\r\n--B--\r\n", "multipart/form-data; boundary=B", "/predict"
    else:
        asked: dict[str, Any] = {"prompt": PROMPT, "max_tokens": LENGTH, "temperature": 0.8, "seed": 1}
        body, kind = json.dumps(asked).encode(), "application/json"
        path = "/v1/completions" if what == "shendu-texts" else "/generate"
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def asking(port: int, request: bytes, clients: int, seconds: float) -> dict[str, Any]:
    """So many clients, each asking again as soon as it is answered, for some seconds after one of warming up."""
    times: list[float] = []
    failed = 0
    begin = time.perf_counter() + 1
    end = begin + seconds

    async def client() -> None:
        nonlocal failed
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (now := time.perf_counter()) < end:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
            )
            await reader.readexactly(length)
            done = time.perf_counter()
            if not head.startswith(b"HTTP/1.1 200"):
                failed += 1
            elif begin <= done <= end:
                times.append(done - now)
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    times.sort()
    return {
        "per_second": len(times) / seconds, "p50_ms": 1000 * times[len(times) // 2] if times else None,
        "p99_ms": 1000 * times[int(0.99 * len(times))] if times else None, "requests": len(times), "failed": failed,
    }  # fmt: skip


# ---- servers ---------------------------------------------------------------------------------------------------------


def measured(what: str, folder: Path, options: argparse.Namespace, port: int) -> dict[str, Any]:
    """A server in a process of its own, asked by clients in another."""
    commands = {
        "shendu-pictures": ["-m", "shendu", "serve", str(folder / "lenet"), "--port", str(port), "--precision", "fp32",
                            "--workers", str(options.workers)],
        "shendu-texts": ["-m", "shendu", "serve", str(folder / "gpt"), "--port", str(port), "--precision", "fp32"],
        "fastapi-pictures": [__file__, "fastapi-pictures", "--port", str(port)],
        "fastapi-texts": [__file__, "fastapi-texts", "--port", str(port)],
    }  # fmt: skip
    server = subprocess.Popen([sys.executable, *commands[what]], stderr=subprocess.DEVNULL)
    try:
        reachable(port, server)
        command = [sys.executable, __file__, "ask", "--what", what, "--port", str(port), "--clients", str(options.clients),
                   "--seconds", str(options.seconds)]  # fmt: skip
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    finally:
        server.terminate()
        server.wait(90)


def reachable(port: int, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/openapi.json", timeout=5)
            return
        except OSError:
            if server.poll() is not None:
                break
            time.sleep(0.2)
    raise SystemExit("the server does not answer")


def compared(sides: tuple[str, str], folder: Path, options: argparse.Namespace, unit: int) -> None:
    """Both sides, round by round; the medians, and how many times as much ours does."""
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for number in range(options.rounds):
        for place, side in enumerate(sides):
            said = measured(side, folder, options, 18_100 + 2 * number + place)
            found[side].append(said)
            print(json.dumps({"round": number, "side": side, **said}), flush=True)
    middle = {side: statistics.median(each["per_second"] for each in some) for side, some in found.items()}
    for side, some in found.items():
        p99 = statistics.median(each["p99_ms"] or float("nan") for each in some)
        print(f"{side}: {middle[side] * unit:,.0f} per second, p99 {p99:.1f} ms")
    fewest = min(each["requests"] for some in found.values() for each in some)
    if fewest < 5 * options.clients:  # what is still under way at the end would weigh too much
        print(f"{fewest} requests in a round are too few to compare {options.clients} clients: give more --seconds")
    else:
        print(f"{middle[sides[0]] / middle[sides[1]]:.2f} times as many")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("requests", "tokens", "ask", "fastapi-pictures", "fastapi-texts"))
    parser.add_argument("--what", dest="side", default="")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--clients", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    if options.what == "ask":
        said = asyncio.run(asking(options.port, request_of(options.side), options.clients, options.seconds))
        print(json.dumps(said))
        return
    if options.what.startswith("fastapi"):
        {"fastapi-pictures": tutorial_pictures, "fastapi-texts": tutorial_texts}[options.what](options.port)
        return
    options.clients = options.clients or (64 if options.what == "requests" else 8)
    os.environ.setdefault("PYTHONPATH", str(Path(__file__).resolve().parents[1]))
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        made(folder)
        kind, unit = ("pictures", 1) if options.what == "requests" else ("texts", LENGTH)
        compared((f"shendu-{kind}", f"fastapi-{kind}"), folder, options, unit)


if __name__ == "__main__":
    main()
