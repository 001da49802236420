// @google/genai: Gemini from Node, whose fetch reads server-sent events of CRLF by itself.

import assert from "node:assert/strict";
import { GoogleGenAI } from "@google/genai";

const url = process.env.WEIR_URL.replace(/\/+$/, "");
const apiKey = process.env.WEIR_KEY ?? "sk-weir-ci";
const model = "gemini-node-synthetic";
const contents = "Say hello to the café — “quotes”, \\ and 🚶 included.";
const weather = {
  type: "object",
  properties: { city: { type: "string" }, days: { type: "integer" } },
  required: ["city", "days"],
};
const tools = [{ functionDeclarations: [{ name: "get_weather", parametersJsonSchema: weather }] }];
const gemini = new GoogleGenAI({ apiKey, httpOptions: { baseUrl: url, timeout: 20_000 } });
const synthetic = (knobs) => ({ httpOptions: { headers: { "x-synthetic": knobs } } });

export const checks = {
  async gemini_whole() {
    const answer = await gemini.models.generateContent({ model, contents });
    assert.ok(answer.text);
    assert.equal(answer.candidates[0].finishReason, "STOP");
    assert.ok(answer.usageMetadata.totalTokenCount > 0);
  },

  async gemini_streamed() {
    const stream = await gemini.models.generateContentStream({ model, contents, config: synthetic("events=50") });
    let pieces = 0;
    let last;
    for await (const chunk of stream) {
      if (chunk.text) pieces++;
      last = chunk;
    }
    assert.equal(pieces, 50);
    assert.ok(last.usageMetadata.candidatesTokenCount > 0);
  },

  async gemini_tool_loop() {
    const first = await gemini.models.generateContent({ model, contents, config: { tools } });
    const [call] = first.functionCalls;
    assert.equal(call.name, "get_weather");
    assert.deepEqual(Object.keys(call.args).sort(), ["city", "days"]);
    const turns = [
      { role: "user", parts: [{ text: contents }] },
      first.candidates[0].content,
      { role: "user", parts: [{ functionResponse: { name: call.name, response: { result: "sunny" } } }] },
    ];
    const second = await gemini.models.generateContent({ model, contents: turns, config: { tools } });
    assert.ok(second.text);
  },

  async gemini_count_tokens() {
    assert.ok((await gemini.models.countTokens({ model, contents })).totalTokens > 0);
  },

  async gemini_rate_limit() {
    await assert.rejects(
      gemini.models.generateContent({ model, contents, config: synthetic("fault=429") }),
      (error) => error.status === 429 && /RESOURCE_EXHAUSTED/.test(error.message),
    );
  },
};
