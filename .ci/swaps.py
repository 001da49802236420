"""Configurations for .ci/reload, and the one who swaps them under a running gateway.

usage: swaps.py first                               the first file, with @PROVIDER@ in it
       swaps.py swap FOLDER PID STREAMS SWAPS       writes FOLDER/weir.hujson anew, tells PID, waits until it is in force

Each file differs from the one before in its grants, providers, quotas and groups, and all of them let the clients ask.
"""

import json
import os
import pathlib
import signal
import socket
import sys
import time

# A row that the books do not know of would be a lost one: whoever leaves or is refused is counted there.
BAD = '{"grants": [{"src": ["*"], "apps": {}}], "providers": {"synthetic": {"baseurl": "no address"}}}'


def file(number, provider):
    """The configuration of that number."""
    others = {
        f"other-{number}-{n}": {
            "baseurl": f"https://v{n}.example.com", "models": [f"model-{number}-{n}"], "apikey": "k", "preference": n - number % 3,
        }
        for n in range(number % 5)
    }
    people = [f"person-{number}-{n}@example.com" for n in range(3)]
    grants = [
        {"src": [f"group:team-{number}"], "app": {"weir": [{"models": "synthetic/none-*"}]}},
        {"src": ["(loopback)"], "app": {"weir": [
            {"role": "user"},
            {"models": ["synthetic/**", "**"][number % 2], "quotas": [{"bucket": "day:<user>"}, {"bucket": f"only-{number}"}]},
        ]}},
    ]
    return json.dumps({
        "server": {"listen": ["127.0.0.1:0"]},
        "providers": {
            **others,
            "synthetic": {
                "baseurl": provider, "models": ["**"], "apikey": "held-by-the-gateway", "authorization": "x-api-key",
                "preference": number % 7, "compatibility": {"anthropic_messages": True},
            },
        },
        "groups": {f"team-{number}": people},
        "quotas": {
            "day:<user>": {"unit": "tokens", "capacity": 10**12 + number, "rate": "1000000/day"},
            f"only-{number}": {"unit": "requests", "capacity": 10**9},
        },
        "grants": grants[:: 1 if number % 2 else -1],
    }, indent=1)


class Gateway:
    def __init__(self, folder, pid):
        self.folder, self.pid = pathlib.Path(folder), pid
        self.provider = json.loads((self.folder / "weir.hujson").read_text())["providers"]["synthetic"]["baseurl"]

    def page(self, target):
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(self.folder / "data" / "control.sock"))
            line.sendall(f"GET {target} HTTP/1.0\r\nhost: weir\r\n\r\n".encode())
            text = b"".join(iter(lambda: line.recv(65536), b""))
        return text.split(b"\r\n\r\n", 1)[1].decode()

    def health(self):
        return json.loads(self.page("/api/health"))

    def open(self):
        return sum(core["exchanges_open"] for core in self.health()["cores"])

    def write(self, text):
        beside = self.folder / "weir.hujson.new"
        beside.write_text(text)
        beside.rename(self.folder / "weir.hujson")
        os.kill(self.pid, signal.SIGHUP)

    def until(self, what, condition, patience=30):
        end = time.monotonic() + patience
        while time.monotonic() < end:
            found = condition()
            if found:
                return found
            time.sleep(0.01)
        sys.exit(f"FAIL  {what} did not come in {patience} s")


def swap(folder, pid, streams, swaps):
    gateway, checks = Gateway(folder, pid), {}
    gateway.until("the streams", lambda: gateway.open() >= streams * 0.9, 60)
    least, took, began = streams, [], gateway.health()["config"]["swaps"]
    for number in range(1, swaps + 1):
        written = time.monotonic()
        gateway.write(file(number, gateway.provider))
        wanted = {f"other-{number}-{n}" for n in range(number % 5)} | {"synthetic"}
        gateway.until(f"file {number}", lambda: set(gateway.health()["providers"]) == wanted and gateway.health()["config"]["swaps"] >= began + number)
        took.append(time.monotonic() - written)
        least = min(least, gateway.open())
        # Swaps fall into every phase of the streams rather than into one moment.
        time.sleep(0.3)
        if number == swaps // 2:
            gateway.write(BAD)
            refused = gateway.until("the refusal", lambda: gateway.health()["config"]["refused"])
            checks["a bad file is refused with its reasons on Health"] = any("apps" in why for why in refused) and any("baseurl" in why for why in refused)
            checks["and in the metric"] = "\nweir_config_current 0\n" in gateway.page("/metrics")
            checks["and in the log"] = "not in force" in (gateway.folder / "weir.log").read_text()
            checks["the old one stays in force"] = set(gateway.health()["providers"]) == wanted
            gateway.write(file(number, gateway.provider))
            gateway.until("the good one again", lambda: not gateway.health()["config"]["refused"])
            began += 1
    health = gateway.health()
    checks[f"{swaps} files came into force, the slowest within {max(took):.2f} s"] = len(took) == swaps
    checks[f"streams ran all the while, at least {least}"] = least >= streams * 0.7
    checks["the last is in force and nothing is refused"] = health["config"]["refused"] == []
    quotas = {row["template"] for row in json.loads(gateway.page("/api/quotas"))}
    checks["quotas are those of the last file"] = f"only-{swaps}" in quotas and "only-1" not in quotas
    for what, good in checks.items():
        print("pass " if good else "FAIL ", what, flush=True)
    failed = sum(not good for good in checks.values())
    print(f"{len(checks) - failed} passed, {failed} failed", flush=True)
    return failed


if sys.argv[1] == "first":
    print(file(0, "@PROVIDER@"))
else:
    sys.exit(1 if swap(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])) else 0)
