"""Opens .tflite files and reads their contents, without TensorFlow where LiteRT is installed."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from mobilenet_tf.utils.console import quiet
from mobilenet_tf.utils.errors import UserError

POST_PROCESS = "TFLite_Detection_PostProcess"  # ends a detector; the one custom operation that every runtime has


def tflite_schema() -> Any:
    """Returns the generated classes of TFLite's schema: LiteRT's or, where that is not installed, TensorFlow's."""
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError:
        from tensorflow.lite.python import schema_py_generated
    return schema_py_generated


def operators(model: Any) -> list[str]:
    """Returns the name of each operator code of a .tflite model; a custom one has its own name, such as "FlexErf"."""
    schema = tflite_schema()
    names = {value: name for name, value in vars(schema.BuiltinOperator).items()}
    codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
    # Files for old runtimes have the code in the deprecated byte only, new operations in the other field only.
    builtin = [names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())] for code in codes]
    return [code.CustomCode().decode() if name == "CUSTOM" else name for code, name in zip(codes, builtin, strict=True)]


def open_tflite(path: str | Path, *, threads: int | None = None, **options: Any) -> Any:
    """Opens a .tflite file in LiteRT's interpreter, or TensorFlow's where that is not installed.

    Returns the interpreter with its tensors allocated. Raises UserError when the file is truncated or corrupt.
    """
    try:
        with quiet(), warnings.catch_warnings(action="ignore"):
            # By content: TensorFlow's interpreter crashes on a truncated file that it is given by path.
            content = Path(path).read_bytes()
            interpreter = interpreter_class()(model_content=content, num_threads=threads, **options)
            interpreter.allocate_tensors()
            return interpreter
    except (ValueError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{path} must be a whole TFLite model. Received: {reason}") from error


def interpreter_class() -> type:
    """Returns LiteRT's interpreter class, or TensorFlow's where LiteRT is not installed."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        from tensorflow.lite.python.interpreter import Interpreter
    return Interpreter


def tflite_outputs(interpreter: Any) -> dict[str, dict]:
    """Returns the details of the outputs by their names in the signature, whose order differs from the model's.

    Without a signature, or with several, the names are those of the tensors.
    """
    signatures = list(interpreter.get_signature_list())
    if len(signatures) == 1:
        return interpreter.get_signature_runner(signatures[0]).get_output_details()
    return {detail["name"]: detail for detail in interpreter.get_output_details()}
