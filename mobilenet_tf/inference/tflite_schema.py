"""What stands in the flatbuffer of a .tflite file, by the generated classes of TFLite's schema."""

from __future__ import annotations

from typing import Any


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
    numbers = [max(code.BuiltinCode(), code.DeprecatedBuiltinCode()) for code in codes]
    builtin = [names.get(number, f"OPERATION_{number}") for number in numbers]
    return [text(code.CustomCode()) if name == "CUSTOM" else name for code, name in zip(codes, builtin, strict=True)]


def text(name: bytes | None) -> str:
    """Returns a name in a file as text; other people's names may be missing or not UTF-8."""
    return (name or b"").decode("utf-8", "replace")
