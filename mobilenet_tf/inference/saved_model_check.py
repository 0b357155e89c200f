"""Refuses SavedModels whose graph does more than compute: a graph can read and write files when it is loaded or run.

What is allowed is a list, what is refused is everything else: an operation is allowed when it is in one of those
modules of TensorFlow that hold nothing but arithmetic on tensors and variables, so that operations of later versions
and unknown ones are refused. Nothing of the file is executed to find out.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from mobilenet_tf.utils import files
from mobilenet_tf.utils.errors import UserError

MAX_BYTES = 2**31  # of saved_model.pb; protobuf ends there
MAX_NAMED = 5  # operations that the message names

# Modules of TensorFlow's generated operations (`gen_<name>_ops`) that compute only
COMPUTING = (
    "array", "bitwise", "candidate_sampling", "clustering", "composite_tensor", "control_flow", "count", "ctc",
    "cudnn_rnn", "functional", "image", "linalg", "list", "logging", "lookup", "manip", "map", "math", "nn",
    "optional", "parsing", "ragged_array", "ragged_conversion", "ragged_math", "random", "random_index_shuffle",
    "resource_variable", "rnn", "set", "sparse", "special_math", "spectral", "state", "stateful_random",
    "stateless_random", "string", "training", "uniform_quant",
)  # fmt: skip
# Of other modules
COMPUTING_TOO = ("TensorArray", "DynamicPartition", "DynamicStitch", "ParallelDynamicStitch", "StatelessRandom")
# In those modules, but: a file as a constant, tables out of files, the end of the process, another machine, summaries
REACHING_OUT = {
    "Abort",
    "ImmutableConst",
    "InitializeTableFromTextFile",
    "InitializeTableFromTextFileV2",
    "RemoteCall",
    "TensorSummary",
    "TensorSummaryV2",
}
STREAMS = (b"", b"stdout", b"stderr", b"log(info)", b"log(warning)", b"log(error)")  # of PrintV2: no files
# How TensorFlow stores and restores variables. In a graph of TensorFlow 2 they stand in functions that only the saver
# calls, with a file name from outside; loading runs none of them.
SAVER = {"MergeV2Checkpoints", "RestoreV2", "SaveV2", "ShardedFilename"}


def parse(folder: Path) -> Any:
    """Returns the SavedModel message of a folder, of which nothing is run.

    Raises ValueError or OSError with the reason where saved_model.pb is damaged or cannot be read.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    content = files.read_bytes(folder / "saved_model.pb", MAX_BYTES)
    try:
        return saved_model_pb2.SavedModel.FromString(content)
    except DecodeError as error:
        raise ValueError(str(error)) from None


def reaching_out(model: Any) -> list[str]:
    """Returns the names of the operations of a SavedModel message that do more than compute."""
    return sorted({name for graph in model.meta_graphs for name in _reaching_out(graph)})


def check(folder: Path) -> None:
    """Raises UserError for a SavedModel with operations that reach outside, or with assets outside of its folder.

    Raises ValueError or OSError as `parse` does.
    """
    model = parse(folder)
    found = reaching_out(model)
    if found:
        more = f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
        raise UserError(
            f"{folder} must only compute: a SavedModel that reads or writes files, runs Python or reaches the network "
            f"is opened only where you trust it (--trust, or trust=True in Python). "
            f"Received: {', '.join(found[:MAX_NAMED])}{more}"
        )
    for graph in model.meta_graphs:
        for asset in graph.asset_file_def:
            if Path(asset.filename).name != asset.filename or asset.filename in ("", "..", "."):
                raise UserError(f"{folder} must hold its assets itself. Received: {asset.filename!r}")


def _reaching_out(graph: Any) -> Iterator[str]:
    """Yields the names of the operations of a MetaGraphDef that are refused."""
    functions = {function.signature.name: function.node_def for function in graph.graph_def.library.function}
    savers = _saver_functions(graph, functions)
    bodies = [("", graph.graph_def.node), *functions.items()]
    for name, nodes in bodies:
        for node in nodes:
            if node.op == "PrintV2" and node.attr["output_stream"].s not in STREAMS:
                yield "PrintV2 to a file"
            elif node.op in SAVER:
                if name not in savers:
                    yield node.op
            elif node.op not in functions and not _computes(node.op):
                yield node.op


def _saver_functions(graph: Any, functions: dict) -> set[str]:
    """Returns the functions that save and restore variables, as long as nothing but the saver can call them."""
    saver = graph.saver_def
    entries = {name.partition(":")[0] for name in (saver.save_tensor_name, saver.restore_op_name) if name}
    called_by_saver = {
        reference
        for node in graph.graph_def.node
        if node.name in entries and _takes_the_filename(node, saver)
        for reference in references(node)
    }
    nodes = [node for node in graph.graph_def.node if node.name not in entries]
    nodes += [node for body in functions.values() for node in body]
    elsewhere = {reference for node in nodes for reference in (*references(node), node.op)}
    elsewhere |= set(graph.object_graph_def.concrete_functions)
    return {name for name in called_by_saver - elsewhere if name in functions}


def _takes_the_filename(node: Any, saver: Any) -> bool:
    """Whether the first input of a node is the saver's file name, which comes from outside."""
    return bool(node.input) and node.input[0].partition(":")[0] == saver.filename_tensor_name.partition(":")[0]


def references(node: Any) -> Iterator[str]:
    """Yields the names of the functions that a node calls."""
    for value in node.attr.values():
        if value.HasField("func"):
            yield value.func.name
        yield from (function.name for function in value.list.func)


@cache
def _allowed() -> frozenset[str]:
    names: set[str] = set()
    for module in COMPUTING:
        names |= set(vars(import_module(f"tensorflow.python.ops.gen_{module}_ops")))
    return frozenset(name for name in names if name[0].isupper()) - REACHING_OUT


def _computes(operation: str) -> bool:
    return operation in _allowed() or operation.startswith(COMPUTING_TOO)
