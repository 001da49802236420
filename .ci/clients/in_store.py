"""What the client suites did, as the store tells it: the provider's book against the gateway's, Claude Code's session.

usage: in_store.py WEIR FOLDER LOG      FOLDER has truth.ndjson and data/; LOG is what the suites printed
"""

import collections
import json
import re
import subprocess
import sys

weir, folder, log = sys.argv[1:]
data = f"{folder}/data"
served_at_all = [json.loads(line) for line in open(f"{folder}/truth.ndjson")]
tokens = [served for served in served_at_all if served["target"] == "/token"]
truth = [served for served in served_at_all if served["target"] != "/token"]


def ask(*arguments):
    text = subprocess.run([weir, *arguments, "--json", "--data", data], check=True, capture_output=True, text=True)
    return [json.loads(line) for line in text.stdout.splitlines()]


def all_rows():
    rows = ask("requests", "-n", "1000")
    while len(more := ask("requests", "-n", "1000", "--before", str(rows[-1]["cursor"]))) > 0:
        rows += more
    return rows


def differences(ours, theirs):
    ours, theirs = collections.Counter(ours), collections.Counter(theirs)
    return {"only recorded": list((ours - theirs).items())[:5], "only served": list((theirs - ours).items())[:5]}


def over_a_socket(row):
    """Upgrades, and what passed over them: the provider's book has whole HTTP exchanges only."""
    path = row["path"].split("?")[0]
    return row["method"] == "GET" and (path in ("/v1/responses", "/v1/realtime") or path.startswith("/ws/"))


def billed_once(served):
    """A response with an id to be fetched by is billed once, however often it is delivered."""
    seen = set()
    for one in served:
        again = one["dialect"] == "responses" and one["response_id"] in seen
        seen.add(one["response_id"])
        if not again:
            yield one


def check_one_record_for_each(rows):
    """What the gateway answered by itself (lists of models, refusals) has no provider's entry."""
    forwarded = [row for row in rows if row["provider"] and not over_a_socket(row)]
    assert len(forwarded) == len(truth), f"{len(forwarded)} forwarded, {len(truth)} served"


def check_tokens(rows):
    """Every count of every whole answer, in every dialect, is the provider's."""
    whole = [served for served in truth if served["usage_sent"] and served["end"] == "complete"]
    http = [row for row in rows if not over_a_socket(row)]
    good = [row for row in http if row["outcome"] == "ok" and row["output_tokens"] is not None]
    theirs = [(s["dialect"], s["input_total"], s["output_total"]) for s in billed_once(whole) if s["output_total"] > 0]
    ours = [(row["dialect"], row["input_tokens"], row["output_tokens"]) for row in good if row["output_tokens"] > 0]
    assert collections.Counter(ours) == collections.Counter(theirs), differences(ours, theirs)
    spoken = {row[0] for row in ours}
    wanted = {"messages", "chat", "responses", "completions", "gemini", "converse", "invoke", "ollama"}
    assert wanted <= spoken, f"nobody spoke {wanted - spoken}"


def check_calls(rows):
    """The names of every whole answer's tool calls."""
    theirs = [tuple(t["name"] for t in s["tools"]) for s in truth if s["end"] == "complete" and s["tools"]]
    ours = [tuple(row["tools"]) for row in rows if row["outcome"] == "ok" and row["tools"]]
    assert collections.Counter(ours) == collections.Counter(theirs), differences(ours, theirs)


def check_signatures(_):
    """What the clients signed for the gateway was signed anew for the provider, which checked it."""
    bedrock = [served for served in truth if "/model/" in served["target"]]
    assert bedrock and {served["credential"] for served in bedrock} == {"sigv4"}, len(bedrock)
    assert all(served["status"] != 403 for served in bedrock)


def check_tokens_of_google(rows):
    """Clients and gateway traded assertions for tokens, and all of them were signed as their account would."""
    vertex = [row for row in rows if row["provider"] == "vertex"]
    assert vertex and all(row["outcome"] == "ok" for row in vertex), vertex
    assert len(tokens) >= 2 and {served["status"] for served in tokens} == {200}, tokens


def check_agents(rows):
    seen = {row["agent"] for row in rows}
    wanted = {"claude-code", "codex", "gemini-cli", "opencode", "anthropic-sdk", "openai-sdk", "google-genai", "boto3"}
    assert wanted <= seen, f"not recognised: {wanted - seen}"


def rows_of_claude():
    (session,) = set(re.findall(r"^session ([0-9a-f-]{36})$", open(log).read(), re.M))
    rows = ask("requests", "--session", session, "-n", "100")
    assert rows, f"no exchange of session {session}"
    return rows


def check_session_of_claude(_):
    rows = rows_of_claude()
    assert {row["agent"] for row in rows} == {"claude-code"}, rows
    turns = [row for row in rows if row["turn"] and row["outcome"] == "ok"]
    # The call, its answer, and the second turn.
    assert len(turns) >= 3, f"{len(turns)} turns"
    assert all(row["input_tokens"] and row["output_tokens"] for row in turns), turns


def check_tool_call_of_claude(_):
    ids = [row["id"] for row in rows_of_claude() if "Bash" in row["tools"]]
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


rows = all_rows()
failed = 0
checks = [
    check_one_record_for_each,
    check_tokens,
    check_calls,
    check_signatures,
    check_tokens_of_google,
    check_agents,
    check_session_of_claude,
    check_tool_call_of_claude,
    check_sums,
    check_whole,
]
for check in checks:
    try:
        check(rows)
        print("pass ", check.__name__)
    except (AssertionError, IndexError, KeyError, ValueError, subprocess.CalledProcessError) as why:
        failed += 1
        print("FAIL ", check.__name__, repr(why)[:3000], getattr(why, "stderr", ""))
print(f"{len(checks) - failed} passed, {failed} failed")
sys.exit(1 if failed else 0)
