// The Node SDKs of the vendors against a gateway in front of the synthetic provider.
//
// WEIR_URL is the gateway's base URL. The header `x-synthetic` tells the provider how to behave; the gateway forwards
// it like any other. The Python suite asks more questions; this one asks those that another HTTP client may answer
// otherwise (undici instead of httpx: its own chunk parser, pool, and idea of a cut connection).

import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
import { checks as aiChecks } from "./ai.mjs";
import { checks as geminiChecks } from "./gemini.mjs";

const url = process.env.WEIR_URL.replace(/\/+$/, "");
const apiKey = process.env.WEIR_KEY ?? "sk-weir-ci";
const claudeModel = process.env.WEIR_MESSAGES_MODEL ?? "claude-synthetic";
const gptModel = process.env.WEIR_CHAT_MODEL ?? "gpt-synthetic";

// No retries: a check is to see the first answer, not a later one.
const claude = new Anthropic({ baseURL: url, apiKey, maxRetries: 0, timeout: 20_000 });
const gpt = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0, timeout: 20_000 });

const hello = [{ role: "user", content: "Say hello to the café — “quotes”, \\ and 🚶 included." }];
const weather = {
  type: "object",
  properties: { city: { type: "string" }, days: { type: "integer" } },
  required: ["city", "days"],
};
const claudeTools = [{ name: "get_weather", description: "The weather of a city", input_schema: weather }];
const gptTools = [{ type: "function", function: { name: "get_weather", parameters: weather } }];

const askClaude = (changes) => ({ model: claudeModel, max_tokens: 500, messages: hello, ...changes });
const askGpt = (changes) => ({ model: gptModel, messages: hello, ...changes });
const synthetic = (knobs) => ({ headers: { "x-synthetic": knobs } });

async function all(stream) {
  const pieces = [];
  for await (const piece of stream) pieces.push(piece);
  return pieces;
}

async function fails(call) {
  try {
    await call();
  } catch (error) {
    return error;
  }
  assert.fail("no error was thrown");
}

const checks = {
  async messages_whole() {
    const message = await claude.messages.create(askClaude());
    assert.ok(message.content[0].text);
    assert.equal(message.stop_reason, "end_turn");
    assert.ok(message.usage.output_tokens > 0);
    assert.ok(message._request_id, "the provider's request id did not pass");
  },

  async messages_streamed() {
    let text = "";
    const stream = claude.messages.stream(askClaude(), synthetic("events=50")).on("text", (piece) => (text += piece));
    const message = await stream.finalMessage();
    assert.equal(text, message.content[0].text);
    assert.ok(message.usage.output_tokens > 0);
  },

  async messages_paced_stream_comes_piece_by_piece() {
    const arrivals = [];
    const stream = await claude.messages.create(askClaude({ stream: true }), synthetic("events=10,delay_ms=50"));
    for await (const event of stream) if (event.type === "content_block_delta") arrivals.push(performance.now());
    const spread = arrivals.at(-1) - arrivals[0];
    assert.ok(spread > 300, `10 events at 50 ms came within ${spread} ms: something held them`);
  },

  async messages_tool_loop() {
    await claudeToolLoop((ask) => claude.messages.create(ask));
  },

  async messages_tool_loop_streamed() {
    await claudeToolLoop((ask) => claude.messages.stream(ask).finalMessage());
  },

  async messages_count_tokens() {
    const count = await claude.messages.countTokens({ model: claudeModel, messages: hello });
    assert.ok(count.input_tokens > 0);
  },

  async messages_request_of_a_megabyte() {
    const long = [{ role: "user", content: "0123456789abcdef".repeat(65_536) }];
    const message = await claude.messages.create(askClaude({ messages: long }));
    assert.ok(message.usage.input_tokens > 200_000);
  },

  async messages_interim_answer_is_no_answer() {
    const message = await claude.messages.create(askClaude(), synthetic("interim=1"));
    assert.ok(message.content[0].text);
  },

  async messages_rate_limit() {
    const error = await fails(() => claude.messages.create(askClaude(), synthetic("fault=429,retry_after=7")));
    assert.ok(error instanceof Anthropic.RateLimitError, String(error));
    assert.equal(error.headers.get("retry-after"), "7");
    assert.equal(error.error.error.type, "rate_limit_error");
  },

  async messages_error_inside_a_stream() {
    const ask = askClaude({ stream: true });
    const error = await fails(async () => all(await claude.messages.create(ask, synthetic("events=20,fault=error@9"))));
    assert.match(String(error), /overloaded_error/);
  },

  async messages_truncation_is_not_an_end() {
    const ask = askClaude({ stream: true });
    await fails(async () => all(await claude.messages.create(ask, synthetic("events=20,fault=truncate@9"))));
  },

  async messages_leaving_in_the_middle_leaves_the_next_one_alone() {
    for (let round = 0; round < 5; round++) {
      const stream = await claude.messages.create(askClaude({ stream: true }), synthetic("events=200,delay_ms=20"));
      for await (const event of stream) if (event.type === "content_block_delta") break;
      const message = await claude.messages.create(askClaude());
      assert.equal(message.stop_reason, "end_turn");
    }
  },

  async messages_many_at_once() {
    const one = async (n) => {
      const ask = askClaude({ messages: [{ role: "user", content: `number ${n}` }] });
      return (await claude.messages.stream(ask, synthetic("events=30,delay_ms=5")).finalMessage()).content[0].text;
    };
    const texts = await Promise.all(Array.from({ length: 24 }, (_, n) => one(n)));
    assert.equal(new Set(texts).size, 24, "two requests got one answer");
  },

  async chat_whole() {
    const answer = await gpt.chat.completions.create(askGpt());
    assert.ok(answer.choices[0].message.content);
    assert.ok(answer.usage.total_tokens > 0);
    assert.ok(answer._request_id, "the provider's request id did not pass");
  },

  async chat_streamed() {
    const chunks = await all(await gpt.chat.completions.create(askGpt({ stream: true }), synthetic("events=50")));
    assert.equal(chunks.filter((chunk) => chunk.choices[0]?.delta.content).length, 50);
    assert.ok(chunks.every((chunk) => !chunk.usage), "usage came without being asked for");
  },

  async chat_streamed_with_usage() {
    const ask = askGpt({ stream: true, stream_options: { include_usage: true } });
    const chunks = await all(await gpt.chat.completions.create(ask));
    assert.ok(chunks.at(-1).usage.completion_tokens > 0);
  },

  async chat_tool_loop() {
    const first = await gpt.chat.completions.create(askGpt({ tools: gptTools }));
    assert.equal(first.choices[0].finish_reason, "tool_calls");
    await gptSecondTurn(first.choices[0].message.tool_calls[0]);
  },

  async chat_tool_loop_streamed() {
    const call = { type: "function", function: { arguments: "" } };
    for await (const chunk of await gpt.chat.completions.create(askGpt({ stream: true, tools: gptTools }))) {
      for (const part of chunk.choices[0]?.delta.tool_calls ?? []) {
        call.id ??= part.id;
        call.function.name ??= part.function.name;
        call.function.arguments += part.function.arguments ?? "";
      }
    }
    await gptSecondTurn(call);
  },

  async chat_rate_limit() {
    const error = await fails(() => gpt.chat.completions.create(askGpt(), synthetic("fault=429,retry_after=7")));
    assert.ok(error instanceof OpenAI.RateLimitError, String(error));
    assert.equal(error.type, "rate_limit_error");
  },

  async chat_truncation_is_not_an_end() {
    const ask = askGpt({ stream: true });
    await fails(async () => all(await gpt.chat.completions.create(ask, synthetic("events=20,fault=truncate@9"))));
  },

  async models_are_listed() {
    assert.ok((await gpt.models.list()).data.length > 0);
    assert.ok((await claude.models.list()).data.length > 0);
  },
};

async function claudeToolLoop(send) {
  const first = await send(askClaude({ tools: claudeTools }));
  const call = first.content.find((block) => block.type === "tool_use");
  assert.equal(first.stop_reason, "tool_use");
  assert.equal(typeof call.input.city, "string");
  const result = { type: "tool_result", tool_use_id: call.id, content: "sunny" };
  const messages = [...hello, { role: "assistant", content: first.content }, { role: "user", content: [result] }];
  const second = await send(askClaude({ tools: claudeTools, messages }));
  assert.equal(second.stop_reason, "end_turn");
}

async function gptSecondTurn(call) {
  assert.equal(call.function.name, "get_weather");
  assert.deepEqual(Object.keys(JSON.parse(call.function.arguments)).sort(), ["city", "days"]);
  const messages = [
    ...hello,
    { role: "assistant", tool_calls: [call] },
    { role: "tool", tool_call_id: call.id, content: "sunny" },
  ];
  const second = await gpt.chat.completions.create(askGpt({ tools: gptTools, messages }));
  assert.equal(second.choices[0].finish_reason, "stop");
}

Object.assign(checks, {
  async responses_streamed() {
    const ask = { model: "gpt-responses-synthetic", input: hello, stream: true };
    const events = await all(await gpt.responses.create(ask, synthetic("events=50")));
    assert.equal(events.filter((event) => event.type === "response.output_text.delta").length, 50);
    assert.ok(events.at(-1).response.usage.output_tokens > 0);
  },

  async embeddings() {
    const answer = await gpt.embeddings.create({ model: "embed-synthetic", input: "one", dimensions: 16 });
    assert.equal(answer.data[0].embedding.length, 16);
  },
}, geminiChecks, aiChecks);

let failed = 0;
for (const [name, run] of Object.entries(checks)) {
  try {
    await run();
    console.log(`pass  ${name}`);
  } catch (error) {
    failed++;
    console.log(`FAIL  ${name}\n${error.stack ?? error}`);
  }
}
console.log(`${Object.keys(checks).length - failed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
