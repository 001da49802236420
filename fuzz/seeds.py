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
    plant("altering", name, body, [1] + [2 + 4 * stream for stream in range(10)])
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

# Forms, and batches in both languages.
PART = 'Content-Disposition: form-data; name="%s"%s\r\n\r\n%s'
parts = [PART % ("file", '; filename="a.wav"\r\nContent-Type: audio/wav', "\0\r\n--"), PART % ("model", "", "whisper-1"), PART % ("stream", "", "true")]
plant("forms", "form", ("xYz\n" + "".join(f"--xYz\r\n{part}\r\n" for part in parts) + "--xYz--\r\n").encode(), [0])
ask = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "tools": [{"type": "advisor", "name": "x", "model": "n"}]}
plant("forms", "messages", json.dumps({"requests": [{"custom_id": "1", "params": ask}, {"custom_id": "2", "params": ask}]}).encode(), [1])
line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": ask}
plant("forms", "lines", "\n".join(json.dumps({**line, "url": url}) for url in ["/v1/chat/completions", "/v1/embeddings"]).encode(), [2])

plant("websocket", "texts", b"hello\n\n" + b"a" * 300 + b"\n" + json.dumps(ask).encode(), range(0, 8))
plant("websocket", "deep", b"abc" * 2000 + b"\nx", [2, 0x92, 0x97])

# Sockets: a query, then what the client says and, behind a <, what the provider does.
USAGE = {"input_tokens": 5, "output_tokens": 2}
responses = [
    {"type": "response.create", "model": "m", "input": "x", "stream_id": "a"},
    {"type": "response.create", "model": "m", "previous_response_id": "r1", "input": []},
    ("<", {"type": "response.created", "stream_id": "a", "response": {"id": "r1", "model": "m"}}),
    ("<", {"type": "response.output_item.done", "output_index": 0, "item": {"type": "function_call", "name": "f", "call_id": "c", "arguments": "{}"}}),
    {"type": "response.steer", "input": "y"},
    ("<", {"type": "response.steer.accepted"}),
    ("<", {"type": "response.completed", "stream_id": "a", "response": {"id": "r1", "status": "completed", "usage": USAGE}}),
    ("<", {"type": "error", "status": 429, "error": {"code": "x"}}),
]
realtime = [
    ("<", {"type": "session.created", "session": {"model": "m"}}),
    {"type": "session.update", "event_id": "e", "session": {"model": "m", "input_audio_transcription": {"model": "w"}}},
    ("<", {"type": "session.updated", "session": {"model": "m"}}),
    {"type": "response.create", "response": {"instructions": "x"}},
    ("<", {"type": "response.created", "response": {"id": "r1"}}),
    ("<", {"type": "response.done", "response": {"id": "r1", "status": "completed", "usage": USAGE}}),
    ("<", {"type": "conversation.item.input_audio_transcription.completed", "usage": USAGE}),
    ("<", {"type": "error", "error": {"event_id": "e"}}),
]
live = [
    {"setup": {"model": "models/m"}},
    ("<", {"setupComplete": {}}),
    {"clientContent": {"turns": [{"parts": [{"text": "x"}]}], "turnComplete": True}},
    ("<", {"serverContent": {"modelTurn": {"parts": [{"text": "y"}]}}}),
    ("<", {"toolCall": {"functionCalls": [{"name": "f", "id": "1", "args": {}}]}}),
    {"toolResponse": {"functionResponses": []}},
    ("<", {"serverContent": {"turnComplete": True}, "usageMetadata": {"promptTokenCount": 3, "responseTokenCount": 1}}),
]
for choice, script in enumerate([responses, realtime, live]):
    said = ["<" + json.dumps(said[1]) if isinstance(said, tuple) else json.dumps(said) for said in script]
    plant("socket", "script", "\n".join(["model=m", *said]).encode(), [choice])
    plant("socket", "no-query", "\n".join(["", *said]).encode(), [choice])

for path in sorted((root / "docs/examples").glob("*.hujson")) + sorted((root / "tests/cases/config").glob("*.json")):
    plant("hujson", path.stem, path.read_bytes(), [None])
for nth, (pattern, text) in enumerate([("openai/gpt-*", "openai/gpt-5"), ("**", "a/b"), ("*/x**y/*", "a/x/z/y/b"), ("claude-?-*", "claude-5-x")]):
    # Two texts and a byte, as the fuzzer's reader of tuples takes them: lengths stand at the end.
    plant("globs", str(nth), pattern.encode() + text.encode() + bytes([3, len(pattern)]), [None])

call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "f", "arguments": {"a": 1}}}
answer = {"jsonrpc": "2.0", "id": 1, "result": {"content": [], "isError": True}}
progress = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {}}
plant("mcp", "json", f"{json.dumps(call)}\n{json.dumps(answer)}".encode(), [0])
plant("mcp", "events", f"{json.dumps(call)}\ndata: {json.dumps(progress)}\n\nevent: message\ndata: {json.dumps(answer)}\n\n".encode(), [1])

for nth, options in enumerate([None, {}, {"include_usage": False}, {"x": 1}]):
    plant("altering", f"asked-{nth}", json.dumps({"model": "m", "stream": True, "stream_options": options}).encode(), [0])
for path in ["/v1/messages", "/v1beta/models/m:streamGenerateContent", "/model/a%3Ab/converse-stream", "/openai/deployments/m/chat/completions", "/v1/projects/p/locations/l/publishers/google/models/m:generateContent"]:
    plant("altering", re.sub(r"\W", "-", path), f"POST {path}".encode(), [3])
