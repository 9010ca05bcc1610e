"""Writes a GGUF version 3 file: header, typed metadata, tensor table, aligned tensor data. Needs numpy.

Metadata values are (type name, value); tensors are numpy arrays in row-major order, float32 or float16.
GGUF lists dimensions with the fastest-running first, the reverse of numpy's shape.
"""
import struct

import numpy

ALIGNMENT = 32
_TENSOR_TYPES = {numpy.dtype(numpy.float32): 0, numpy.dtype(numpy.float16): 1}
_SCALARS = {"u32": (4, "<I"), "i32": (5, "<i"), "f32": (6, "<f"), "bool": (7, "<?")}
_STRING, _ARRAY = 8, 9


def _string(text):
    data = text.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def _value(kind, value):
    if kind == "string":
        return struct.pack("<I", _STRING) + _string(value)
    if kind == "strings":
        return struct.pack("<IIQ", _ARRAY, _STRING, len(value)) + b"".join(_string(v) for v in value)
    if kind == "i32s":
        return struct.pack("<IIQ", _ARRAY, 5, len(value)) + struct.pack("<%di" % len(value), *value)
    type_id, form = _SCALARS[kind]
    return struct.pack("<I", type_id) + struct.pack(form, value)


def write_gguf(path, metadata, tensors):
    """metadata: {key: (kind, value)}, tensors: {name: array}; both are written in the order given."""
    head = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(metadata))]
    for key, (kind, value) in metadata.items():
        head.append(_string(key) + _value(kind, value))
    offset, blobs = 0, []
    for name, array in tensors.items():
        data = numpy.ascontiguousarray(array).tobytes()
        shape = array.shape[::-1]
        head.append(_string(name) + struct.pack("<I", len(shape)) + struct.pack("<%dQ" % len(shape), *shape)
                    + struct.pack("<IQ", _TENSOR_TYPES[array.dtype], offset))
        blobs.append(data + bytes(-len(data) % ALIGNMENT))
        offset += len(blobs[-1])
    header = b"".join(head)
    with open(path, "wb") as file:
        file.write(header + bytes(-len(header) % ALIGNMENT))
        for blob in blobs:
            file.write(blob)
