// Codex, Gemini CLI and opencode themselves, without a terminal, through a gateway in front of the synthetic provider:
// each holds a conversation of two turns and runs a tool in each of them.
//
// Their settings are what `weir setup` writes, so this shows as well that those lines work with the versions pinned
// here. The provider answers whoever declares a shell with one harmless call, `echo weir-tool-ok`.
//
// Each agent gets a home of its own and a bare environment; telemetry is off by its documented settings, and a proxy
// that is not there catches what would call anywhere else. What each really sent first is kept in WEIR_SENT.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const url = process.env.WEIR_URL.replace(/\/+$/, "");
const { WEIR: weir, WEIR_DATA: data, WEIR_SENT: sent } = process.env;
assert.ok(weir && data, "WEIR and WEIR_DATA are needed: the program and its store");
const here = dirname(fileURLToPath(import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "weir-ci-agents-"));
const first = "Run the tool, then tell me what it said.";
const second = "And once more, in one word?";

function ran(program, options, { cwd, env, seconds = 120 }) {
  const done = spawnSync(program, options, { cwd, env, encoding: "utf8", input: "", timeout: seconds * 1000 });
  assert.equal(done.error, undefined, String(done.error));
  assert.equal(done.status, 0, `exit ${done.status} (${done.signal})\n${done.stdout.slice(-4000)}\n${done.stderr.slice(-4000)}`);
  return done.stdout;
}

const lines = (text) => text.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
const ask = (...options) => lines(ran(weir, [...options, "--json", "--data", data], {}));

/** The rows of a session once all of them are written, oldest first. */
function rowsOf(session, turns) {
  for (let tries = 0; ; tries++) {
    const rows = ask("requests", "--session", session, "-n", "200").reverse();
    if (rows.filter((row) => row.turn).length >= turns || tries === 50) return rows;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
  }
}

class Agent {
  constructor(name, setup, { packageName, program = name, env = {}, settings = () => {} }) {
    Object.assign(this, { name, program: join(here, "node_modules/.bin", program) });
    this.version = JSON.parse(readFileSync(join(here, "node_modules", packageName, "package.json"))).version;
    this.home = join(folder, name);
    this.project = join(folder, `${name}-project`);
    [this.home, this.project].forEach((path) => mkdirSync(path));
    ran(weir, ["setup", setup, "--url", url, "--write", "--home", this.home], {});
    settings(this.home);
    const nowhere = "http://127.0.0.1:9";
    this.env = {
      PATH: process.env.PATH,
      HOME: this.home,
      TERM: "xterm-256color",
      HTTPS_PROXY: nowhere,
      HTTP_PROXY: nowhere,
      NO_PROXY: "127.0.0.1,localhost",
      ...env,
    };
  }

  run(...options) {
    return ran(this.program, options, { cwd: this.project, env: this.env });
  }

  /** The session's rows say who it was, what it ran, and which requests were turns. */
  recorded(session, tool) {
    const rows = rowsOf(session, 4);
    assert.deepEqual([...new Set(rows.map((row) => row.agent))], [this.name], JSON.stringify(rows));
    assert.deepEqual([...new Set(rows.map((row) => row.agent_version))], [this.version]);
    const turns = rows.filter((row) => row.turn);
    assert.ok(turns.every((row) => row.outcome === "ok" && row.input_tokens > 0 && row.output_tokens > 0));
    // A call and the words after it, twice.
    assert.deepEqual(turns.map((row) => row.tools), [[tool], [], [tool], []]);
    const [shown] = ask("show", turns[0].id);
    assert.match(shown.tool_uses[0].arguments, /echo weir-tool-ok/);
    assert.ok(JSON.stringify(shown.ask.tools).includes(tool), "the tool was not seen to be declared");
    this.keep(rows[0].id);
    return rows;
  }

  keep(id) {
    if (!sent) return;
    mkdirSync(sent, { recursive: true });
    const [shown] = ask("show", id);
    writeFileSync(join(sent, `${this.name}-${this.version}.json`), JSON.stringify(shown, null, 1));
  }
}

const checks = {
  codex() {
    const agent = new Agent("codex", "codex", { packageName: "@openai/codex" });
    // The store is not the place to test a sandbox: a bare machine may have none to offer.
    const free = ["--skip-git-repo-check", "--json", "--dangerously-bypass-approvals-and-sandbox"];
    const quiet = ["-c", "analytics.enabled=false", "-c", "check_for_update_on_startup=false"];
    const events = lines(agent.run("exec", ...quiet, ...free, first));
    const session = events.find((event) => event.type === "thread.started").thread_id;
    said(events.filter((event) => event.item?.type === "agent_message").map((event) => event.item.text));
    assert.ok(events.some((event) => event.type === "turn.completed" && event.usage.output_tokens > 0));
    const again = lines(agent.run("exec", ...quiet, "resume", ...free, session, second));
    said(again.filter((event) => event.item?.type === "agent_message").map((event) => event.item.text));
    agent.recorded(session, "exec");
  },

  gemini_cli() {
    const agent = new Agent("gemini-cli", "gemini", {
      packageName: "@google/gemini-cli",
      program: "gemini",
      // A folder nobody has seen is not trusted, and its .env is then not read.
      env: { GEMINI_CLI_TRUST_WORKSPACE: "true" },
      settings: (home) => {
        const file = join(home, ".gemini/settings.json");
        const quiet = { telemetry: { enabled: false }, privacy: { usageStatisticsEnabled: false } };
        const general = { enableAutoUpdate: false, enableAutoUpdateNotification: false };
        writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file)), ...quiet, general }));
      },
    });
    const run = (...more) => JSON.parse(agent.run(...more, "--output-format", "json", "--yolo").replace(/^[^{]*/, ""));
    const told = run("-p", first);
    said([told.response]);
    assert.equal(told.stats.tools.totalSuccess, 1, JSON.stringify(told.stats.tools));
    said([run("--resume", "latest", "-p", second).response]);
    // It sends no session id: the conversation is told by what it begins with.
    const [row] = ask("requests", "--agent", "gemini-cli", "-n", "50").filter((row) => row.turn);
    agent.recorded(row.session, "run_shell_command");
    const side = ask("requests", "--agent", "gemini-cli", "-n", "50").filter((row) => !row.turn);
    assert.ok(side.length >= 1, "its routing request was taken for a turn, or not sent");
  },

  opencode() {
    const agent = new Agent("opencode", "opencode", {
      packageName: "opencode-ai",
      env: { OPENCODE_DISABLE_AUTOUPDATE: "1", OPENCODE_DISABLE_MODELS_FETCH: "1", OPENCODE_DISABLE_SHARE: "1" },
    });
    const run = (...more) => lines(agent.run("run", "--format", "json", "--model", "anthropic/claude-sonnet-4-5", ...more));
    const events = run(first);
    said(events.filter((event) => event.type === "text").map((event) => event.part.text));
    const [call] = events.filter((event) => event.type === "tool_use");
    assert.match(call.part.state.output, /weir-tool-ok/);
    const session = events[0].sessionID;
    said(run("--session", session, second).filter((event) => event.type === "text").map((event) => event.part.text));
    const rows = agent.recorded(session, "bash");
    assert.ok(rows.some((row) => !row.turn), "its title request was taken for a turn, or not sent");
  },
};

function said(texts) {
  assert.ok(texts.join("").length > 10, "no closing words");
}

let failed = 0;
for (const [name, run] of Object.entries(checks)) {
  const began = performance.now();
  try {
    run();
    console.log(`pass  ${name} (${Math.round((performance.now() - began) / 1000)} s)`);
  } catch (error) {
    failed++;
    console.log(`FAIL  ${name}\n${error.stack ?? error}`);
  }
}
console.log(`${Object.keys(checks).length - failed} passed, ${failed} failed`);
rmSync(folder, { recursive: true, force: true });
process.exit(failed ? 1 : 0);
