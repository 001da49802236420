// Claude Code itself, in print mode, through a gateway in front of the synthetic provider: a conversation of two turns.
//
// The provider answers a request that declares `Bash` with one harmless call, `echo weir-tool-ok`, so the first turn runs
// a tool; the second takes the conversation up again by its id and is told (by `x-synthetic: tools=0`) to need none.
//
// The agent gets a home of its own and a bare environment: nothing of the user's who runs this is read or changed, and
// no other address than the gateway's is called. It is allowed `Bash(echo:*)` and nothing else, which works as root too
// (skipping permissions altogether does not).

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, mkdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const url = process.env.WEIR_URL.replace(/\/+$/, "");
const claude = join(dirname(fileURLToPath(import.meta.url)), "node_modules/.bin/claude");
const folder = mkdtempSync(join(tmpdir(), "weir-ci-claude-"));
const home = join(folder, "home");
const project = join(folder, "project");
[home, project].forEach((path) => mkdirSync(path));

/** One turn: the agent's events, the last of which is the result. */
function turn(prompt, { more = [], headers = "", format = "stream-json" } = {}) {
  const options = ["--output-format", format, "--allowedTools", "Bash(echo:*)"];
  if (format === "stream-json") options.push("--verbose");
  if (process.env.WEIR_CLAUDE_MODEL) options.push("--model", process.env.WEIR_CLAUDE_MODEL);
  const ran = spawnSync(claude, ["-p", prompt, ...options, ...more], {
    cwd: project,
    encoding: "utf8",
    timeout: 90_000,
    input: "",
    env: {
      PATH: process.env.PATH,
      // A proxy that is not there, so that a call to anywhere else would fail rather than pass unseen.
      HTTPS_PROXY: "http://127.0.0.1:9",
      HTTP_PROXY: "http://127.0.0.1:9",
      NO_PROXY: new URL(url).hostname,
      HOME: home,
      ANTHROPIC_BASE_URL: url,
      ANTHROPIC_API_KEY: process.env.WEIR_KEY ?? "sk-weir-ci",
      ANTHROPIC_CUSTOM_HEADERS: headers,
      CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
      DISABLE_TELEMETRY: "1",
      DISABLE_ERROR_REPORTING: "1",
      DISABLE_AUTOUPDATER: "1",
    },
  });
  assert.equal(ran.error, undefined, String(ran.error));
  assert.equal(ran.status, 0, `exit ${ran.status} (${ran.signal})\n${ran.stdout}\n${ran.stderr}`);
  return ran.stdout.trim().split("\n").map((line) => JSON.parse(line));
}

const blocks = (events, type) =>
  events.flatMap((event) => event.message?.content ?? []).filter((block) => block.type === type);

let session;

const checks = {
  first_turn_runs_one_tool() {
    const events = turn("Run the tool, then tell me what it said.");
    const calls = blocks(events, "tool_use");
    assert.deepEqual(calls.map((call) => [call.name, call.input.command]), [["Bash", "echo weir-tool-ok"]]);
    const [result] = blocks(events, "tool_result");
    assert.match(JSON.stringify(result.content), /weir-tool-ok/);
    assert.equal(result.tool_use_id, calls[0].id);
    const end = events.at(-1);
    assert.deepEqual([end.type, end.subtype, end.is_error, end.num_turns], ["result", "success", false, 2]);
    assert.ok(end.result, "no closing words");
    assert.ok(end.usage.output_tokens > 0);
    session = end.session_id;
  },

  second_turn_takes_it_up() {
    assert.ok(session, "there was no first turn");
    const more = ["--resume", session];
    const [end] = turn("And in one word?", { more, headers: "x-synthetic: tools=0", format: "json" });
    assert.deepEqual([end.subtype, end.is_error, end.num_turns], ["success", false, 1]);
    assert.ok(end.result, "no closing words");
    assert.ok(end.usage.cache_read_input_tokens > 0, "the first turn was not sent along");
    assert.equal(end.session_id, session);
  },

  an_error_of_the_provider_is_told() {
    const headers = "x-synthetic: fault=400";
    assert.throws(() => turn("Anything.", { headers }), /API Error|invalid_request_error|"is_error":true/);
  },
};

let failed = 0;
for (const [name, run] of Object.entries(checks)) {
  try {
    run();
    console.log(`pass  ${name}`);
  } catch (error) {
    failed++;
    console.log(`FAIL  ${name}\n${error.stack ?? error}`);
  }
}
if (session) console.log(`session ${session}`);
console.log(`${Object.keys(checks).length - failed} passed, ${failed} failed`);
rmSync(folder, { recursive: true, force: true });
process.exit(failed ? 1 : 0);
