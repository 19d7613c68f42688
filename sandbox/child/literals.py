"""Child side: reads an input's literal text back to a value, by the standard parser of literals."""

import ast

_parse, _literal_eval, _Name = ast.parse, ast.literal_eval, ast.Name


class _NanAsConstant(ast.NodeTransformer):
    def visit_Name(self, node):
        return ast.Constant(float("nan")) if node.id == "nan" else node


def decode_value(text):
    """`"(1,nan,'x',)"` -> `(1, nan, 'x')`; only literals, `nan` and `set()`."""
    if "nan" not in text:
        return _literal_eval(text)
    return _literal_eval(_NanAsConstant().visit(_parse(text, mode="eval")))
