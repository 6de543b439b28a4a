"""ONNX: the open format that most runtimes read. Run by onnxruntime."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from shendu.errors import UserError, out_of_memory
from shendu.exporting.format import Arrays, Format, Runs, Usage
from shendu.exporting.graph import Made, quiet, reason
from shendu.field import Port

OPSET = 18
SCOPES, MODEL = "pkg.torch.onnx.name_scopes", "model."
"""Where a node says which module it is of, and what the network's modules are called there."""


class Onnx(Format):
    """One file; words of a table's cells are given as texts."""

    name: ClassVar[str] = "onnx"
    suffix: ClassVar[str] = ".onnx"
    needs: ClassVar[tuple[str, ...]] = ("onnx", "onnxscript", "onnxruntime")
    words: ClassVar[bool] = True

    def write(self, made: Made, place: Path) -> None:
        import onnx

        onnx.save(model_of(made), place)

    def runs(self, made: Made, place: Path) -> Runs:
        return running(place, made.ports)

    def layers(self, made: Made, place: Path, given: Arrays) -> Arrays:
        import onnx

        opened = onnx.load(place)
        places = scopes(opened)
        named = set(places.values())
        inner = [onnx.helper.make_empty_tensor_value_info(name) for name in sorted(named)]
        opened.graph.output.extend(info for info in inner if info.name not in {o.name for o in opened.graph.output})
        ready = session(opened.SerializeToString(), plain=True)
        values = dict(
            zip((o.name for o in ready.get_outputs()), ready.run(None, spelled(given, made.ports)), strict=True)
        )
        return {module: values[name] for module, name in places.items() if name in values}

    def usage(self, name: str) -> Usage:
        return Usage(
            ("import onnxruntime",),
            (
                f'session = onnxruntime.InferenceSession("{name}")',
                "said = session.run(None, given)[0]",
                'labels = json.loads(session.get_modelmeta().custom_metadata_map["labels"])',
            ),
        )


FORMAT = Onnx()


def model_of(made: Made, words: bool = True) -> Any:
    """The graph as an onnx.ModelProto that the library's checker passes; `words`: cells of a table are given as texts."""
    import onnx

    names = list(made.ports)
    program = made.program
    with quiet():
        try:
            written = torch.onnx.export(
                program, (), dynamo=True, opset_version=OPSET, input_names=names, output_names=named(made), verbose=False,
                optimize=False,  # onnxscript 0.7 takes 1e-8 for zero, and leaves out what is added to a logarithm's argument
            )  # fmt: skip
        except Exception as error:
            if out_of_memory(error):
                raise
            raise UserError(f"{made.system} does not export to ONNX ({reason(error)})") from error
    assert written is not None
    model = written.model_proto
    for part in (
        *model.graph.node,
        *model.graph.value_info,
        *model.graph.input,
        *model.graph.output,
        *model.graph.initializer,
    ):
        scoped = [prop for prop in part.metadata_props if prop.key == SCOPES]
        del part.metadata_props[:]  # among them lines of files of this machine
        part.metadata_props.extend(scoped)
    name_sizes(model, made.ports)
    if words:
        for name, port in made.ports.items():
            if port.words:
                spell(model, name, port)
    about = {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in made.about().items()
    }
    onnx.helper.set_model_props(model, about)
    onnx.checker.check_model(model, full_check=True)
    return model


def name_sizes(model: Any, ports: dict[str, Port]) -> None:
    """Calls the sizes that may vary as the ports do: torch has names of its own for them."""
    called: dict[str, str] = {}
    for given in model.graph.input:
        for dim, name in zip(given.type.tensor_type.shape.dim, ports[given.name].dims(), strict=True):
            if dim.dim_param:
                called.setdefault(dim.dim_param, str(name))
    for part in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dim in part.type.tensor_type.shape.dim:
            if dim.dim_param in called:
                dim.dim_param = called[dim.dim_param]


def named(made: Made) -> list[str]:
    """The outputs' names; one that an input has too, as a column may, stands behind `said_`."""
    return [f"said_{name}" if name in made.ports else name for name in made.outputs]


def spell(model: Any, name: str, port: Port) -> None:
    """Puts in front of an input of codes the table that makes them of texts."""
    import onnx

    coded = f"{name}/code"
    for node in model.graph.node:
        node.input[:] = [coded if each == name else each for each in node.input]
    table = onnx.helper.make_node(
        "LabelEncoder", [name], [coded], domain="ai.onnx.ml", keys_strings=list(port.words),
        values_int64s=list(port.words.values()), default_int64=port.otherwise,
    )  # fmt: skip
    model.graph.node.insert(0, table)
    given = next(each for each in model.graph.input if each.name == name)
    given.type.tensor_type.elem_type = onnx.TensorProto.STRING
    if not any(each.domain == "ai.onnx.ml" for each in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", 2))


def spelled(given: Arrays, ports: dict[str, Port]) -> Arrays:
    """Inputs of which codes are the words that stand for them."""
    return {name: words_of(values, ports[name]) if ports[name].words else values for name, values in given.items()}


def words_of(codes: np.ndarray, port: Port) -> np.ndarray:
    """The first word of each code; of a code without one a word that is not known."""
    word = {code: text for text, code in reversed(port.words.items())}
    strange = next(text for i in range(len(port.words) + 1) if (text := f"?{i}") not in port.words)
    return np.array([word.get(code, strange) for code in codes.tolist()], object)


def session(model: Any, plain: bool = False) -> Any:
    """An onnxruntime session of a file, or of a model's bytes; plain: as it is written, without what would make it quicker."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    if plain:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def running(place: Path, ports: dict[str, Port]) -> Runs:
    """A file, run by onnxruntime."""
    opened = session(str(place))
    names = [output.name.removeprefix("said_") for output in opened.get_outputs()]

    def run(given: Arrays) -> Arrays:
        return dict(zip(names, opened.run(None, spelled(given, ports)), strict=True))

    return run


def scopes(model: Any) -> dict[str, str]:
    """Module of the network -> the last value that it computes in the graph."""
    found: dict[str, str] = {}
    for node in model.graph.node:
        for prop in node.metadata_props:
            if prop.key == SCOPES:
                inside = [name for name in json.loads(prop.value.replace("'", '"')) if name.startswith(MODEL)]
                if inside and node.output:
                    found[inside[-1].removeprefix(MODEL)] = node.output[0]
    return found
