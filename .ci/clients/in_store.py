"""What Claude Code did, as the store tells it: its session, and its tool call with the arguments.

usage: in_store.py WEIR DATA LOG      LOG is what the suite printed, which names the session
"""

import json
import re
import subprocess
import sys

weir, data, log = sys.argv[1:]


def ask(*arguments):
    text = subprocess.run([weir, *arguments, "--json", "--data", data], check=True, capture_output=True, text=True)
    return [json.loads(line) for line in text.stdout.splitlines()]


def rows_of(session):
    rows = ask("requests", "--session", session, "-n", "100")
    assert rows, f"no exchange of session {session}"
    return rows


def check_session(session):
    rows = rows_of(session)
    assert {row["agent"] for row in rows} == {"claude-code"}, rows
    turns = [row for row in rows if row["turn"] and row["outcome"] == "ok"]
    # The call, its answer, and the second turn.
    assert len(turns) >= 3, f"{len(turns)} turns"
    assert all(row["input_tokens"] and row["output_tokens"] for row in turns), turns


def check_tool_call(session):
    ids = [row["id"] for row in rows_of(session) if "Bash" in row["tools"]]
    assert len(ids) == 1, f"calls of Bash: {ids}"
    (shown,) = ask("show", ids[0])
    (call,) = [call for call in shown["tool_uses"] if call["name"] == "Bash"]
    assert json.loads(call["arguments"])["command"] == "echo weir-tool-ok", call
    assert "Bash" in [tool["name"] if isinstance(tool, dict) else tool for tool in shown["ask"]["tools"]]
    assert shown["request_body"] and shown["response_body"] and shown["complete"], "bodies"


def check_sums(_):
    (total,) = ask("usage")
    by_outcome = ask("usage", "--by", "outcome")
    assert total["exchanges"] == sum(row["exchanges"] for row in by_outcome), by_outcome
    assert total["tool_calls"] > 0 and total["input_tokens"] > 0


def check_whole(_):
    subprocess.run([weir, "verify", data], check=True, capture_output=True)


found = re.findall(r"^session ([0-9a-f-]{36})$", open(log).read(), re.M)
failed = 0
checks = [check_session, check_tool_call, check_sums, check_whole]
for check in checks:
    try:
        check(found[-1])
        print("pass ", check.__name__)
    except (AssertionError, IndexError, KeyError, ValueError, subprocess.CalledProcessError) as why:
        failed += 1
        print("FAIL ", check.__name__, repr(why)[:2000], getattr(why, "stderr", ""))
print(f"{len(checks) - failed} passed, {failed} failed")
sys.exit(1 if failed else 0)
