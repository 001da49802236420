// Bodies as a conversation: Messages and Chat, requests and answers, streams put together. What cannot be read gives
// null, and the page shows the bytes.
const talk = (() => {
'use strict';

/** The request's messages: [{role, blocks: [{kind, text, name}]}]. */
function request(text) {
  const body = parse(text);
  if (!body || !Array.isArray(body.messages)) return null;
  const turns = [];
  if (body.system) turns.push({ role: 'system', blocks: blocks(body.system) });
  for (const message of body.messages) turns.push(turn(message));
  return turns;
}

/** The answer: one turn, from JSON or from an event stream. */
function answer(text) {
  const whole = parse(text);
  if (whole) return fromWhole(whole);
  const events = text.split(/\r?\n\r?\n/).map(data).filter((event) => event !== null);
  if (events.length === 0) return null;
  return events.some((event) => event.choices) ? fromChat(events) : fromMessages(events);
}

function parse(text) {
  try {
    const value = JSON.parse(text);
    return value && typeof value === 'object' ? value : null;
  } catch {
    return null;
  }
}

function data(event) {
  const lines = event.split(/\r?\n/).filter((line) => line.startsWith('data:'));
  return parse(lines.map((line) => line.slice(5)).join('\n'));
}

function turn(message) {
  const made = { role: String(message.role || ''), blocks: blocks(message.content) };
  if (message.role === 'tool') made.blocks = made.blocks.map((block) => ({ ...block, kind: 'result' }));
  for (const call of message.tool_calls || []) made.blocks.push(chatCall(call));
  return made;
}

function blocks(content) {
  if (typeof content === 'string') return content ? [{ kind: 'text', text: content }] : [];
  return Array.isArray(content) ? content.map(block) : [];
}

function block(part) {
  switch (part && part.type) {
    case 'text': case 'input_text': case 'output_text': return { kind: 'text', text: part.text || '' };
    case 'thinking': return { kind: 'thinking', text: part.thinking || '' };
    case 'tool_use': case 'server_tool_use': return { kind: 'call', name: part.name, text: pretty(part.input) };
    case 'tool_result': return { kind: 'result', text: blocks(part.content).map((b) => b.text).join('\n') };
    case 'image': case 'image_url': case 'document': return { kind: 'other', text: `[${part.type}]` };
    default: return { kind: 'other', text: pretty(part) };
  }
}

const chatCall = (call) => ({ kind: 'call', name: call.function && call.function.name, text: prettyText((call.function || {}).arguments || '') });

const pretty = (value) => (typeof value === 'string' ? value : JSON.stringify(value, null, 2) || '');

function prettyText(text) {
  const value = parse(text);
  return value ? pretty(value) : text;
}

function fromWhole(body) {
  if (Array.isArray(body.content)) return turn({ role: 'assistant', content: body.content });
  if (Array.isArray(body.choices)) return turn({ role: 'assistant', ...(body.choices[0] || {}).message });
  return body.error ? { role: 'error', blocks: [{ kind: 'text', text: pretty(body.error) }] } : null;
}

function fromMessages(events) {
  const parts = [];
  const extra = [];
  for (const event of events) {
    if (event.type === 'content_block_start') parts[event.index] = { ...event.content_block, json: '' };
    if (event.type === 'error') extra.push({ kind: 'text', text: pretty(event.error) });
    const part = parts[event.index];
    if (event.type !== 'content_block_delta' || !part) continue;
    const delta = event.delta || {};
    if (delta.text) part.text = (part.text || '') + delta.text;
    if (delta.thinking) part.thinking = (part.thinking || '') + delta.thinking;
    if (delta.partial_json) part.json += delta.partial_json;
  }
  const made = parts.filter(Boolean).map((part) => (part.json ? { kind: 'call', name: part.name, text: prettyText(part.json) } : block(part)));
  return made.length + extra.length ? { role: 'assistant', blocks: made.concat(extra) } : null;
}

function fromChat(events) {
  let text = '';
  const calls = [];
  for (const event of events) {
    const delta = ((event.choices || [])[0] || {}).delta || {};
    if (typeof delta.content === 'string') text += delta.content;
    for (const call of delta.tool_calls || []) {
      const made = calls[call.index || 0] = calls[call.index || 0] || { function: { name: '', arguments: '' } };
      made.function.name += (call.function || {}).name || '';
      made.function.arguments += (call.function || {}).arguments || '';
    }
  }
  return { role: 'assistant', blocks: blocks(text).concat(calls.filter(Boolean).map(chatCall)) };
}

return { request, answer };
})();
