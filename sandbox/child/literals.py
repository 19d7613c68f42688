"""Child side: reads an input's literal text back to a value, by the standard parser of literals."""

import ast

_NAMES = {"nan": float("nan"), "inf": float("inf")}


def decode_value(text):
    """`"(1,nan,'x',)"` -> `(1, nan, 'x')`; only literals, `nan`, `inf` and `set()`."""
    if "nan" not in text and "inf" not in text:
        return ast.literal_eval(text)
    return _value(ast.parse(text, mode="eval").body)


def _value(node):
    if isinstance(node, ast.Name) and node.id in _NAMES:
        return _NAMES[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if isinstance(node, ast.List):
        return [_value(n) for n in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple([_value(n) for n in node.elts])
    if isinstance(node, ast.Set):
        return {_value(n) for n in node.elts}
    if isinstance(node, ast.Dict):
        return {_value(k): _value(v) for k, v in zip(node.keys, node.values)}
    return ast.literal_eval(node)
