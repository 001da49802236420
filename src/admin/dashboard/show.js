// One exchange, in a drawer: what it was, where the time went, what was said, the bytes.
const exchange = (() => {
'use strict';

const { ask, badge, byId, bytes, count, duration, el, money, short, time } = build;
const { answer, request } = talk;

const TEXT_SHOWN = 1500;
const TURNS_SHOWN = 6;
/** More of a body is for a file, not for a page. */
const RAW_SHOWN = 400000;

const drawer = byId('show');
drawer.addEventListener('click', (event) => { if (event.target === drawer) drawer.close(); });

async function show(id, closed) {
  drawer.onclose = closed;
  fill('…', el('p', { class: 'none' }, 'reading'));
  if (!drawer.open) drawer.showModal();
  try {
    const record = await ask(`/api/requests/${id}`);
    const model = record.model || record.ask.model || record.path;
    fill(model, facts(record), waterfall(record), bodies(id), heads(record), el('p', { class: 'none' }, `id ${record.id}`));
  } catch (why) {
    fill('Exchange', el('p', { class: 'trouble' }, why.message));
  }
}

const hide = () => drawer.open && drawer.close();

function fill(title, ...parts) {
  const close = el('button', { class: 'x', 'aria-label': 'Close', onclick: () => drawer.close() }, '×');
  drawer.replaceChildren(el('header', null, el('h1', null, title), el('span', { class: 'grow' }), close), el('div', { class: 'in' }, ...parts));
}

const panel = (title, ...parts) => el('section', { class: 'panel' }, el('h2', null, title), ...parts);

function facts(record) {
  const pairs = [
    ['outcome', badge(record.outcome, record.fault && record.fault.kind, record.status)],
    ['status', record.status || 'none'],
    ['who', [record.who.principal, record.who.source && `by ${record.who.source}`].filter(Boolean).join(', ')],
    ['agent', [record.caller.agent, record.caller.agent_version].filter(Boolean).join(' ')],
    ['session', record.caller.session],
    ['provider', record.attempts.length > 1 ? `${record.provider} after ${record.attempts.length} attempts` : record.provider],
    ['model asked', record.ask.model],
    ['model answered', record.model],
    ['stop reason', record.stop_reason],
    ['tokens in', `${count(record.input_tokens)}`],
    ['from cache / into cache', `${count(record.cache_read_tokens)} / ${count(record.cache_write_tokens)}`],
    ['tokens out', record.reasoning_tokens ? `${count(record.output_tokens)} (${count(record.reasoning_tokens)} reasoning)` : count(record.output_tokens)],
    ['cost', record.unpriced ? `unknown: ${record.unpriced}` : money(record.cost_nanodollars)],
    ['cost, says the provider', record.reported_cost_nanodollars === undefined ? '' : money(record.reported_cost_nanodollars)],
    ['request body', bytes(record.bytes.request_received)],
    ['response body', bytes(record.bytes.response_sent)],
    ['bodies kept', record.capture],
    ['accepted', time(record.times.accepted_at_us)],
  ];
  const list = pairs.filter(([, value]) => value !== '' && value !== null && value !== undefined);
  const parts = [el('dl', { class: 'facts' }, ...list.map(([name, value]) => el('div', null, el('dt', null, name), el('dd', null, value))))];
  if (record.fault) parts.push(el('p', { class: 'trouble' }, `${record.fault.kind} (${record.fault.side}): ${record.fault.cause}`));
  if (record.error) parts.push(el('pre', null, JSON.stringify(record.error, null, 2)));
  return panel(`${record.method} ${record.path}`, ...parts);
}

function waterfall(record) {
  const t = record.times;
  const all = Math.max(t.last_byte_us, 1);
  const steps = [];
  let from = 0;
  for (const [name, to, kind] of [['admitted', t.admitted_us], ['connected', t.connected_us], ['first byte', t.first_byte_us, 'wait'], ['last byte', t.last_byte_us]]) {
    if (to === null || to === undefined) continue;
    steps.push([name, from, Math.max(to - from, 0), kind]);
    from = Math.max(to, from);
  }
  const rows = steps.flatMap(([name, at, took, kind]) => {
    const piece = el('span', { class: kind });
    piece.style.left = `${Math.min((100 * at) / all, 99.4)}%`;
    piece.style.width = `${(100 * took) / all}%`;
    return [el('span', null, name), el('div', { class: 'track' }, piece), el('span', { class: 'n' }, duration(took))];
  });
  const note = `${duration(t.last_byte_us)} in all; weir itself ${duration(t.own_us)}; waiting for the client ${duration(t.blocked_us)}`;
  return panel('Where the time went', el('div', { class: 'water' }, ...rows, el('p', null, note)));
}

function heads(record) {
  const table = (fields) => el('table', { class: 'heads' }, el('tbody', null, ...fields.map(([name, value]) => el('tr', null, el('td', null, name), el('td', null, value)))));
  const part = (title, fields) => el('details', null, el('summary', null, `${title} (${fields.length})`), table(fields));
  return panel('Headers', part('request', record.request_headers), part('response', record.response_headers));
}

/** The bodies, as a conversation and as they are. */
function bodies(id) {
  const place = el('div', null, el('p', { class: 'none' }, 'reading'));
  const path = (which) => `/api/requests/${id}/bodies/${which}`;
  const body = async (which) => {
    const got = await fetch(`${path(which)}?decoded=1`, { cache: 'no-store' });
    return got.ok ? got.text() : null;
  };
  Promise.all([body('request'), body('response')]).then(([asked, answered]) => {
    const views = {
      conversation: () => conversation(asked, answered),
      request: () => raw(asked, path('request')),
      response: () => raw(answered, path('response')),
    };
    const tabs = el('nav', { class: 'tabs' });
    const inner = el('div');
    const open = (name) => {
      for (const tab of tabs.children) tab.setAttribute('aria-pressed', String(tab.textContent === name));
      inner.replaceChildren(views[name]());
    };
    tabs.append(...Object.keys(views).map((name) => el('button', { type: 'button', onclick: () => open(name) }, name)));
    place.replaceChildren(tabs, inner);
    open('conversation');
  }, (why) => place.replaceChildren(el('p', { class: 'trouble' }, why.message)));
  return panel('Bodies', place);
}

function raw(text, path) {
  if (text === null) return el('p', { class: 'none' }, 'not kept');
  const cut = text.length > RAW_SHOWN;
  const rest = cut && el('p', { class: 'none' }, `the first ${count(RAW_SHOWN)} of ${count(text.length)} characters; `, el('a', { href: path }, 'all of it, as it was'));
  return el('div', null, el('pre', null, text.slice(0, RAW_SHOWN)), rest);
}

function conversation(asked, answered) {
  const turns = (asked !== null && request(asked)) || [];
  const last = answered !== null && answer(answered);
  if (turns.length === 0 && !last) return el('p', { class: 'none' }, 'Nothing here reads as a conversation; request and response show the bytes.');
  const list = el('div');
  const hidden = turns.slice(0, Math.max(turns.length - TURNS_SHOWN, 0));
  if (hidden.length > 0) {
    const more = el('button', { type: 'button', class: 'link', onclick: () => more.replaceWith(...hidden.map((turn) => row(turn))) }, `${hidden.length} earlier messages`);
    list.append(more);
  }
  list.append(...turns.slice(hidden.length).map((turn) => row(turn)));
  if (last) list.append(row(last, true));
  return list;
}

function row(turn, isAnswer) {
  return el('div', { class: isAnswer ? 'turn answer' : 'turn' }, el('span', { class: 'role' }, isAnswer ? 'answer' : turn.role), el('div', null, ...turn.blocks.map(piece)));
}

function piece(block) {
  if (block.kind === 'text') return folded('p', '', block.text);
  if (block.kind === 'thinking') return folded('p', 'thinking', block.text);
  const label = { call: `calls ${block.name || 'a tool'}`, result: 'tool result', other: 'other content' }[block.kind];
  return el('div', null, el('span', { class: 'label' }, label), folded('pre', '', block.text));
}

function folded(name, kind, text) {
  const made = el(name, { class: kind || undefined }, short(text, TEXT_SHOWN));
  if (text.length <= TEXT_SHOWN) return made;
  const more = el('button', { type: 'button', class: 'link', onclick: () => { made.textContent = text; more.remove(); } }, `all ${count(text.length)} characters`);
  return el('div', null, made, more);
}

return { show, hide };
})();
