"""Three books of one load run held against each other: the clients', the provider's, the store's.

usage: books.py WEIR FOLDER [stay]      where all clients stay to the end; FOLDER has clients.json (loadtest run --json), truth.ndjson and data/
"""

import collections
import json
import subprocess
import sys

weir, folder, *stay = sys.argv[1:]
clients = json.load(open(f"{folder}/clients.json"))
truth = [json.loads(line) for line in open(f"{folder}/truth.ndjson")]
ends = collections.Counter(served["end"] for served in truth)


def ask(*arguments):
    text = subprocess.run([weir, *arguments, "--json"], capture_output=True, text=True).stdout
    return [json.loads(line) for line in text.splitlines()]


outcomes = {row["key"]: row for row in ask("usage", "--by", "outcome", "--data", f"{folder}/data")}
(total,) = ask("usage", "--data", f"{folder}/data")
(store,) = ask("verify", f"{folder}/data")
whole, left = clients["exchanges"], clients["left"]
recorded = {key: row["exchanges"] for key, row in outcomes.items()}
ok = outcomes.get("ok", {"output_tokens": 0, "input_tokens": 0})
one = next(served for served in truth if served["end"] == "complete")
tokens_in = one["tokens_in"] + one["tokens_cache_read"] + one["tokens_cache_write"]

print(f"clients   {whole} whole, {left} left, {clients['events']} events, {clients['body_bytes']} bytes compared")
print(f"provider  {dict(ends)}")
print(f"store     {recorded}, {store['records_lost']} lost, {store['bodies_missing']} bodies missing")
print(f"added     p50 {clients['delay_ms']['p50']} ms, p99 {clients['delay_ms']['p99']} ms from send to arrival")

checks = {
    "every byte of every stream that stayed is right": clients["mismatches"] == 0,
    "no exchange failed": clients["errors"] == 0 and clients["unfinished"] == 0,
    "there was something to lose": whole > 500 and (left > 200 or stay == ["stay"]),
    "one record for each exchange the provider served": total["exchanges"] == len(truth),
    "one record for each exchange of the clients": total["exchanges"] == whole + left,
    "recorded as ok: those who stayed": recorded.get("ok", 0) == whole,
    "recorded as left: those who left": recorded.get("client_gone", 0) == left,
    "upstream was cancelled for those who left": ends["client_gone"] >= left * 0.95,
    "output tokens of whole streams are the provider's": ok["output_tokens"] == whole * one["tokens_out"],
    "input tokens of whole streams are the provider's": ok["input_tokens"] == whole * tokens_in,
    "no record lost": store["records_lost"] == 0,
    "the store is whole": not store["findings"] and store["bodies_missing"] == 0,
}
for name, good in checks.items():
    print("pass " if good else "FAIL ", name)
failed = sum(not good for good in checks.values())
if failed:
    print("complaints of the clients:", clients["complaints"][:5], "one of the truth:", one)
print(f"{len(checks) - failed} passed, {failed} failed")
sys.exit(1 if failed else 0)
