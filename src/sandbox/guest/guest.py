"""Runs inside the sandbox, in one of two roles that never share a process.

candidate  holds the untrusted program and answers calls of its functions with plain values
checker    holds the check and says whether it passed; for the program's names it asks through the parent

Untrusted code never runs where the verdict is made: whatever it does to its own interpreter, all it can do is to answer calls.
What it answers is rebuilt here out of plain values, so no method of an object of its own (`__eq__`, `__bool__`) is ever called by a check.

Lines are ASCII. To the candidate: `load TOKEN JSON`, `call TOKEN JSON`, `get TOKEN JSON`; it answers `TOKEN JSON`.
To the checker: `check TOKEN JSON`; it says `ask VERB JSON`, is told `answer JSON`, and ends with `verdict TOKEN JSON`.
Both say `ready` when they are, at the start and after `reset`.
"""

import builtins
import importlib
import json
import sys
import types
from collections import deque
from collections.abc import ItemsView, Iterator, KeysView

DETAIL_CHARS = 300
# Elements that are taken from an iterator which a program returns; more are never asked for by a check that ends.
ITERATOR_ITEMS = 100_000
# Integers up to this size are written in decimals; Python refuses to print very long ones.
DECIMAL_INT = 1 << 63


class Opaque:
    """Stands for a value that is not plain: equal to itself alone."""

    __hash__ = object.__hash__

    def __init__(self, type_name):
        self._type_name = type_name

    def __repr__(self):
        return f"<{self._type_name}>"


class Gone(BaseException):
    """The program's process has ended; the check is of no use any more."""


class ProgramError(Exception):
    """An exception of the program whose class is not a builtin one."""


def encode(value):
    """JSON form of a plain value; lists are arrays, everything else that JSON lacks is an object with one key."""
    if value is None or value is True or value is False:
        return value
    if isinstance(value, int):
        value = int.__index__(value)
        return value if -DECIMAL_INT < value < DECIMAL_INT else {"int": hex(value)}
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, list):
        return [encode(item) for item in list.__iter__(value)]
    if isinstance(value, tuple):
        return {"tuple": [encode(item) for item in tuple.__iter__(value)]}
    if isinstance(value, dict):
        return {"dict": [[encode(key), encode(item)] for key, item in dict.items(value)]}
    if isinstance(value, frozenset):
        return {"frozenset": [encode(item) for item in value]}
    if isinstance(value, (set, KeysView, ItemsView)):
        return {"set": [encode(item) for item in value]}
    return encode_rarer(value)


def encode_rarer(value):
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": bytes(value).hex()}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, range):
        return {"range": [encode(value.start), encode(value.stop), encode(value.step)]}
    if isinstance(value, deque):
        return {"deque": [encode(item) for item in value]}
    if isinstance(value, Iterator):
        return {"iterator": [encode(item) for _, item in zip(range(ITERATOR_ITEMS), value)]}
    kind = type(value)
    if kind.__module__ == "fractions":
        return {"fraction": [encode(value.numerator), encode(value.denominator)]}
    if kind.__module__ == "decimal":
        return {"decimal": str(value)}
    return {"opaque": kind.__name__}


def decode(value):
    """The value of its JSON form. Builds builtin types only, whatever the text says."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, body),) = value.items()
    if kind == "dict":
        return {decode(key): decode(item) for key, item in body}
    if kind == "int":
        return int(body, 16)
    if kind == "bytes":
        return bytes.fromhex(body)
    if kind == "opaque":
        return Opaque(str(body)[:100])
    if kind == "decimal":
        from decimal import Decimal

        return Decimal(body)
    items = [decode(item) for item in body]
    if kind == "fraction":
        from fractions import Fraction

        return Fraction(*items)
    sequences = {
        "tuple": tuple, "set": set, "frozenset": frozenset, "deque": deque, "iterator": iter,
        "complex": lambda parts: complex(*parts), "range": lambda parts: range(*parts),
    }
    return sequences[kind](items)


def describe(error):
    """Name and message of an exception; of a syntax error also the line."""
    try:
        message = str(error)
    except BaseException:
        message = ""
    return [type(error).__name__, message[:DETAIL_CHARS]]


class Candidate:
    """Answers requests about one program."""

    def __init__(self):
        self.names = {}

    def handle(self, line):
        verb, token, text = line.split(" ", 2)
        try:
            reply = json.dumps(getattr(self, verb)(json.loads(text)))
        except BaseException as error:
            reply = json.dumps({"raised": describe(error)})
        return f"{token} {reply}"

    def load(self, source):
        self.names = {"__name__": "program"}
        exec(compile(source, "<program>", "exec"), self.names)
        return {"value": None}

    def get(self, name):
        if name not in self.names:
            return {"missing": name}
        value = self.names[name]
        if isinstance(value, types.ModuleType):
            return {"module": value.__name__}
        return {"function": name} if callable(value) else {"value": encode(value)}

    def call(self, request):
        args = [decode(item) for item in request["args"]]
        kwargs = {key: decode(item) for key, item in request["kwargs"].items()}
        value = encode(self.names[request["name"]](*args, **kwargs))
        # Programs may change lists, dictionaries and sets that they are given, and a check may look at them afterwards.
        changed = {index: encode(item) for index, item in enumerate(args) if isinstance(item, (list, dict, set))}
        return {"value": value, "changed": changed}


class CheckNames(dict):
    """The check's global names; those it does not define are the program's."""

    def __init__(self, ask):
        super().__init__(__name__="check")
        self._ask = ask

    def __missing__(self, name):
        if name.startswith("__") or hasattr(builtins, name):
            raise KeyError(name)
        reply = self._ask("get", name)
        if "missing" in reply:
            raise KeyError(name)
        if "module" in reply:
            # A module that the program imported is one of this interpreter's own here; only the standard library is to be had.
            self[name] = importlib.import_module(str(reply["module"]))
        elif "function" in reply:
            self[name] = self._function(name)
        else:
            self[name] = decode(reply["value"])
        return self[name]

    def _function(self, name):
        def function(*args, **kwargs):
            reply = self._ask("call", {
                "name": name,
                "args": [encode(item) for item in args],
                "kwargs": {key: encode(item) for key, item in kwargs.items()},
            })
            for index, value in reply["changed"].items():
                replace_content(args[int(index)], decode(value))
            return decode(reply["value"])

        return function


def replace_content(target, value):
    if isinstance(target, list):
        target[:] = value
    else:
        target.clear()
        target.update(value)


class Checker:
    """Runs one check after the other. `ask` hands a line to the parent and returns the parent's answer."""

    def __init__(self, ask):
        self._ask_parent = ask

    def handle(self, line):
        _, token, text = line.split(" ", 2)
        verdict = self.verdict(json.loads(text))
        return f"verdict {token} {json.dumps(verdict)}"

    def verdict(self, check):
        try:
            exec(compile(check, "<check>", "exec"), CheckNames(self._ask))
            return {"passed": True}
        except BaseException as error:
            name, message = describe(error)
            detail = f"{name}: {message}" if message else name
            line = line_of_check(error, check)
            return {"passed": False, "type": name, "detail": detail + (f" at {line}" if line else "")}

    def _ask(self, verb, request):
        reply = json.loads(self._ask_parent(f"ask {verb} {json.dumps(request)}").partition(" ")[2])
        if "gone" in reply:
            raise Gone()
        if "raised" in reply:
            name, message = reply["raised"]
            known = getattr(builtins, str(name), None)
            is_exception = isinstance(known, type) and issubclass(known, BaseException)
            raise make_exception(known, message) if is_exception else ProgramError(f"{name}: {message}")
        return reply


def make_exception(kind, message):
    try:
        return kind(str(message))
    except TypeError:
        # A few builtin exceptions, UnicodeDecodeError for one, want other arguments.
        return ProgramError(f"{kind.__name__}: {message}")


def line_of_check(error, check):
    """Text of the innermost line of the check that the exception went through."""
    number = None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<check>":
            number = trace.tb_lineno
        trace = trace.tb_next
    lines = check.splitlines()
    return lines[number - 1].strip() if number is not None and number <= len(lines) else None


def limit_resources(limits):
    """What the kernel refuses from here on; none of it can be taken back by the program."""
    import resource

    for name, value in limits.items():
        kind = getattr(resource, "RLIMIT_" + name, None)
        if kind is None:
            continue
        try:
            hard = resource.getrlimit(kind)[1]
            bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (bound, bound))
        except (OSError, ValueError):
            # A system without this limit; the others hold.
            pass


def main():
    """The loop of a guest with a Python process of its own: role and limits are arguments, lines come by standard input."""
    import os

    role, limits = sys.argv[1], json.loads(sys.argv[2])
    requests = os.fdopen(os.dup(0), "r", encoding="ascii")
    replies = os.fdopen(os.dup(1), "w", encoding="ascii")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    # What programs print goes to standard error, where the parent counts it.
    os.dup2(2, 1)
    limit_resources(limits)

    def send(line):
        replies.write(line + "\n")
        replies.flush()

    def ask(line):
        send(line)
        return requests.readline()

    guest = Candidate() if role == "candidate" else Checker(ask)
    send("ready")
    for line in iter(requests.readline, ""):
        # Each candidate of this kind has one program, and checkers keep nothing of a check.
        send("ready" if line == "reset\n" else guest.handle(line))


if __name__ == "__main__":
    main()
