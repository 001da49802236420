"""What the suites share: where the gateway is, how a check is told, and what the gateway wrote down."""

import json
import os
import subprocess
import time

URL = os.environ["WEIR_URL"].rstrip("/")
KEY = os.environ.get("WEIR_KEY", "sk-weir-ci")
# The gateway's program and its store: where they are not told, what was written down is not looked at, loudly.
WEIR = os.environ.get("WEIR")
DATA = os.environ.get("WEIR_DATA")

QUESTION = "Say hello to the café — “quotes”, \\ and \U0001f6b6 included."
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
}

CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def synthetic(knobs):
    return {"x-synthetic": knobs}


def raises(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"{kind} was not raised")


def recorded(headers, **expected):
    """The record of the exchange that these response headers belong to; it stands in the store within a second."""
    if not (WEIR and DATA):
        return None
    exchange = headers["x-weir-id"]
    for _ in range(50):
        asked = subprocess.run([WEIR, "show", exchange, "--json", "--data", DATA], capture_output=True, text=True)
        if asked.returncode == 0 and asked.stdout.strip():
            break
        time.sleep(0.1)
    else:
        raise AssertionError(f"no record of {exchange}: {asked.stderr}")
    record = json.loads(asked.stdout)
    found = {name: record[name] for name in expected}
    assert found == expected, f"recorded {found}, the client saw {expected}"
    assert record["outcome"] == "ok" and record["complete"], record["outcome"]
    return record


def recorded_call(record, name, arguments):
    if record is None:
        return
    (call,) = record["tool_uses"]
    assert call["name"] == name and json.loads(call["arguments"]) == arguments, call
    assert name in record["ask"]["tools"], record["ask"]["tools"]
