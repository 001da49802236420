"""First inputs of the fuzz targets, from weir's own cases: bytes as they come on the wire, two bytes of choices before.

usage: seeds.py CORPUS
"""

import base64
import gzip
import json
import os
import pathlib
import re
import sys
import zlib

corpus = pathlib.Path(sys.argv[1])
root = pathlib.Path(__file__).resolve().parent.parent

# Those of targets/reader.rs, in its order.
PATHS = re.findall(r'^    "(/.*)",$', (root / "fuzz/targets/reader.rs").read_text(), re.M)
CASE = re.compile(
    r".*?=== request (\S+) (\S+)\n(.*?)\n=== response (\d+)([^\n]*)\n(.*?)\n\n(.*)\n=== expected", re.S
)


def plant(target, name, data, choices=(0, 1)):
    folder = corpus / target
    folder.mkdir(parents=True, exist_ok=True)
    for choice in choices:
        (folder / f"{name}-{choice}").write_bytes((bytes([choice, 7]) if choice is not None else b"") + data)


for path in sorted((root / "tests/cases").glob("*/*.txt")):
    match = CASE.match(path.read_text())
    if not match:
        continue
    method, target, request, status, flags, fields, body = match.groups()
    name, body = f"{path.parent.name}-{path.stem}", body.encode()
    if "base64" in flags:
        body = base64.b64decode(body)
    request = request.strip().encode()
    plant("ask", name, request, range(16))
    # The path of the list that is most like the case's own stands for its dialect.
    like = max(range(len(PATHS)), key=lambda at: len(os.path.commonprefix([PATHS[at], target])))
    plant("reader", name, body, [like + kind * len(PATHS) for kind in range(5)])
    plant("sse" if b"data:" in body else "framings", name, body, range(3))
    plant("decode", name, gzip.compress(body), [0])
    plant("decode", name + "-z", zlib.compress(body), [1])
    plant("head", name, f"{method} {target} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(request)}\r\n\r\n".encode(), [0])
    plant("head", name, f"HTTP/1.1 {status} OK\r\n{fields}\r\ntransfer-encoding: chunked\r\n\r\n".replace("\n", "\r\n").replace("\r\r", "\r").encode(), [1])
    sizes = [1, 7, 100, 3000]
    chunks = b""
    while body:
        piece, body = body[: sizes[0]], body[sizes[0] :]
        sizes = sizes[1:] + sizes[:1]
        chunks += b"%x;a=b\r\n%s\r\n" % (len(piece), piece)
    plant("chunked", name, chunks + b"0\r\nx: y\r\n\r\n", [0])
    plant("segment", name, chunks[:2000], [5])

for path in sorted((root / "docs/examples").glob("*.hujson")):
    plant("config", path.stem, path.read_bytes(), [None])
plant("framings", "lines", b'{"a":1}\n{"b":"\\n"}\r\n', [0])
plant("framings", "array", json.dumps([{"a": [1, "]"]}, {"b": "{"}]).encode(), [1])
plant("framings", "text", b"\x81\x05hello\x88\x02\x03\xe8", [3, 4])
plant("framings", "proxy", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12), [5])
