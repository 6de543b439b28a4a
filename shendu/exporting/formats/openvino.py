"""OpenVINO: Intel's runtime for its processors. Run in float32: by itself it computes in the least precise form of the processor."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import torch

from shendu.errors import UserError, out_of_memory
from shendu.exporting.format import Arrays, Format, Runs, Usage
from shendu.exporting.formats import onnx
from shendu.exporting.graph import Made, quiet, reason

PRECISE = {"INFERENCE_PRECISION_HINT": "f32", "EXECUTION_MODE_HINT": "ACCURACY"}


class OpenVino(Format):
    """A file of the graph, and one of its weights (.bin) beside it. Words of a table's cells are given as their codes."""

    name: ClassVar[str] = "openvino"
    suffix: ClassVar[str] = ".xml"
    needs: ClassVar[tuple[str, ...]] = ("openvino", "onnx", "onnxscript", "onnxruntime")
    extra: ClassVar[str] = "openvino"

    def write(self, made: Made, place: Path) -> None:
        import openvino

        with quiet():
            model = converted(onnx.model_of(made, words=False), made)
        for key, value in made.about().items():
            model.set_rt_info(json.dumps(value, ensure_ascii=False), ["shendu", key])
        openvino.save_model(model, place, compress_to_fp16=False)

    def runs(self, made: Made, place: Path) -> Runs:
        import openvino

        return running(openvino.Core().read_model(place), made)

    def layers(self, made: Made, place: Path, given: Arrays) -> Arrays:
        """Of the graph that it was made of, with each layer's value as an output, in OpenVINO."""
        import onnx as library

        written = onnx.model_of(made, words=False)
        places = onnx.scopes(written)
        have = {output.name for output in written.graph.output}
        written.graph.output.extend(
            library.helper.make_empty_tensor_value_info(name) for name in sorted({*places.values()} - have)
        )
        found = running(converted(written, made), made, [output.name for output in written.graph.output])(given)
        return {module: found[name] for module, name in places.items() if name in found}

    def usage(self, name: str) -> Usage:
        return Usage(
            ("import openvino",),
            (
                f'model = openvino.compile_model("{name}", "CPU", {json.dumps(PRECISE)})',
                "said = model(given)[0]",
                f'labels = json.load(open("{Path(name).stem}.json"))["labels"]',
            ),
        )


FORMAT = OpenVino()


def converted(model: Any, made: Made) -> Any:
    """An OpenVINO model of an ONNX one; raises UserError for what it cannot hold."""
    import io

    import openvino

    try:
        return openvino.convert_model(io.BytesIO(folded(model)))
    except Exception as error:
        if out_of_memory(error):
            raise
        raise UserError(f"{made.system} does not export to OpenVINO ({reason(error)})") from error


def folded(model: Any) -> bytes:
    """The model with its constants computed, by onnxruntime: OpenVINO wants to know the rank of each shape."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as room:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(Path(room) / "folded.onnx")
        options.log_severity_level = 3
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return (Path(room) / "folded.onnx").read_bytes()


def running(model: Any, made: Made, names: list[str] | None = None) -> Runs:
    import openvino

    try:
        ready = openvino.compile_model(model, "CPU", {**PRECISE, "INFERENCE_NUM_THREADS": torch.get_num_threads()})
    except Exception as error:
        raise UserError(f"{made.system} does not run in OpenVINO ({reason(error)})") from error

    def run(given: Arrays) -> Arrays:
        found = ready(given)
        return dict(zip(names or made.outputs, (found[i] for i in range(len(names or made.outputs))), strict=True))

    return run
