// Vercel's AI SDK, on which many agents are built: its own readers for Messages, Chat and Responses.

import assert from "node:assert/strict";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";

// It does not know the synthetic models, and says so at each turn.
globalThis.AI_SDK_LOG_WARNINGS = false;

const url = process.env.WEIR_URL.replace(/\/+$/, "");
const apiKey = process.env.WEIR_KEY ?? "sk-weir-ci";
const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey });
const anthropic = createAnthropic({ baseURL: `${url}/v1`, apiKey });
const models = {
  messages: anthropic("claude-ai-synthetic"),
  chat: openai.chat("gpt-ai-synthetic"),
  responses: openai.responses("gpt-ai-responses-synthetic"),
};
const prompt = "Say hello to the café — “quotes”, \\ and 🚶 included.";
const get_weather = tool({
  description: "The weather of a city",
  inputSchema: jsonSchema({
    type: "object",
    properties: { city: { type: "string" }, days: { type: "integer" } },
    required: ["city", "days"],
  }),
  execute: async () => "sunny",
});

export const checks = {};

for (const [dialect, model] of Object.entries(models)) {
  checks[`ai_sdk_${dialect}_streamed`] = async () => {
    const headers = { "x-synthetic": "events=50" };
    const answer = streamText({ model, prompt, headers, maxRetries: 0 });
    let pieces = 0;
    for await (const piece of answer.textStream) pieces += piece ? 1 : 0;
    assert.ok(pieces >= 50, `${pieces} pieces`);
    assert.ok((await answer.usage).outputTokens > 0);
  };

  checks[`ai_sdk_${dialect}_runs_a_tool`] = async () => {
    const answer = await generateText({
      model,
      prompt,
      tools: { get_weather },
      stopWhen: stepCountIs(2),
      maxRetries: 0,
    });
    const calls = answer.steps.flatMap((step) => step.toolCalls);
    assert.deepEqual(calls.map((call) => [call.toolName, Object.keys(call.input).sort()]), [["get_weather", ["city", "days"]]]);
    assert.ok(answer.text, "no closing words");
  };
}
