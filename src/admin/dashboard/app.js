// The front page. The address holds range, filters and the exchange that is open, so that a link shows what its
// sender saw. Numbers are asked for every two seconds; exchanges come by the live tail.
(() => {
'use strict';

const { ask, badge, brief, byId, bytes, code, count, duration, el, money, percent, short, svg, time } = build;
const { hide, show } = exchange;

const RANGES = [['1h', '1 h'], ['24h', '24 h'], ['7d', '7 d'], ['', 'all']];
const FILTERS = ['principal', 'agent', 'session', 'model', 'provider', 'tool', 'outcome', 'status'];
const ROWS_MAX = 100;
const PAGE_ROWS = 25;

let front = null;
let tail = null;
let oldest = null;
let round = 0;

// ---- the address ----------------------------------------------------------------------------------------------

const wanted = () => new URLSearchParams(location.search);

function go(change) {
  const query = wanted();
  for (const [name, value] of Object.entries(change)) value ? query.set(name, value) : query.delete(name);
  history.pushState(null, '', `${location.pathname}${query.size ? `?${query}` : ''}`);
  begin();
}

/** Filters for the API; without the range for the tail, which has no past. */
function filters(ranged, more) {
  const query = new URLSearchParams(more);
  const have = wanted();
  for (const name of FILTERS) if (have.get(name)) query.set(name, have.get(name));
  if (ranged && have.get('since')) query.set('since', have.get('since'));
  return query;
}

// ---- totals ---------------------------------------------------------------------------------------------------

async function look() {
  if (document.hidden && front) return;
  try {
    front = await ask(`/api/overview?${filters(true)}`);
    byId('trouble').hidden = true;
  } catch (why) {
    byId('trouble').textContent = `No numbers: ${why.message}`;
    byId('trouble').hidden = false;
    return;
  }
  document.querySelector('main').className = front.totals.total.exchanges === 0 ? 'empty' : '';
  paintTop();
  paintTiles();
  paintKinds();
  paintPace();
  paintFlying();
  paintHealth();
  if (round++ % 3 === 0) {
    paintGroups();
    quotas.paint();
  }
}

function paintTop() {
  const { viewer, health } = front;
  const lost = byId('lost');
  lost.replaceChildren('records lost ', el('b', null, count(health.records_lost)));
  lost.className = health.records_lost > 0 ? 'lost some' : 'lost';
  byId('viewer').replaceChildren(el('b', null, viewer.name), viewer.sees_everybody ? ` · ${viewer.role}, sees everybody` : ' · own records');
}

function paintTiles() {
  const { totals, agents } = front;
  const all = totals.total;
  const not = all.failed + all.refused;
  const people = front.viewer.sees_everybody ? [`${count(totals.principals)} ${plural(totals.principals, 'person', 'people')}`] : [];
  const tile = (name, value, title, ...more) => el('div', { class: 'tile' }, el('div', { class: 'name' }, name), el('div', { class: 'value', title }, value), el('div', { class: 'more' }, ...more));
  const wrong = not > 0 ? el('span', { class: 'bad' }, `${count(not)} not ok`) : 'all ok';
  byId('tiles').replaceChildren(
    tile('Requests', brief(all.exchanges), count(all.exchanges), all.exchanges > 0 ? wrong : 'none yet'),
    tile('Cost', money(all.cost_nanodollars, all.cost_unknown), 'by today\'s price lists: weir prices', all.cost_unknown > 0 ? `${brief(all.cost_unknown)} req without a price` : ''),
    tile('In flight', count(totals.in_flight), undefined, 'now'),
    tile('Tokens in', brief(all.input_tokens ?? 0), count(all.input_tokens), share(all.cache_read_tokens, all.input_tokens, 'from cache')),
    tile('Tokens out', brief(all.output_tokens ?? 0), count(all.output_tokens), share(all.reasoning_tokens, all.output_tokens, 'reasoning')),
    tile('Tool calls', brief(all.tool_calls), count(all.tool_calls), all.usage_unknown > 0 ? `${brief(all.usage_unknown)} req without usage` : ''),
    tile('Sessions', brief(totals.sessions), count(totals.sessions), [...people, `${count(agents)} ${plural(agents, 'agent', 'agents')}`].join(' · ')),
  );
}

const plural = (n, one, many) => (n === 1 ? one : many);
const share = (part, all, words) => (part ? `${percent(part, all)} ${words}` : '');

function paintKinds() {
  const all = front.totals.total;
  const read = all.cache_read_tokens || 0;
  const write = all.cache_write_tokens || 0;
  const reason = all.reasoning_tokens || 0;
  const kinds = [
    ['k-input', 'input', Math.max((all.input_tokens || 0) - read - write, 0)],
    ['k-read', 'cache read', read],
    ['k-write', 'cache write', write],
    ['k-output', 'output', Math.max((all.output_tokens || 0) - reason, 0)],
    ['k-reason', 'reasoning', reason],
  ].filter(([, , n]) => n > 0);
  const sum = kinds.reduce((n, kind) => n + kind[2], 0);
  byId('stack').replaceChildren(...kinds.map(([kind, name, n]) => {
    const piece = el('span', { class: kind, title: `${name}: ${count(n)}` });
    piece.style.width = `${(100 * n) / sum}%`;
    return piece;
  }));
  byId('kinds').replaceChildren(...kinds.map(([kind, name, n]) => el('li', null, el('i', { class: kind }), name, el('b', null, count(n)), el('small', null, percent(n, sum)))));
  if (sum === 0) byId('kinds').replaceChildren(el('li', null, el('small', null, 'none counted yet')));
}

function paintPace() {
  const minutes = front.per_minute;
  const most = Math.max(...minutes.map((minute) => minute.exchanges), 1);
  const step = 600 / minutes.length;
  const picture = svg('svg', { viewBox: '0 0 600 84', preserveAspectRatio: 'none', role: 'img', 'aria-label': 'Requests per minute, last hour' },
    svg('line', { x1: 0, x2: 600, y1: 83.5, y2: 83.5 }));
  minutes.forEach((minute, at) => {
    const high = Math.max((80 * minute.exchanges) / most, minute.exchanges > 0 ? 2 : 0);
    const bar = svg('rect', { x: at * step + 1, y: 83 - high, width: step - 2, height: high, rx: 1.5 }, svg('title', {}));
    bar.firstChild.textContent = `${time(minute.at_us).slice(-8, -3)}: ${count(minute.exchanges)}`;
    if (at === minutes.length - 1) bar.setAttribute('class', 'now');
    picture.append(bar);
  });
  byId('spark').replaceChildren(picture, el('div', { class: 'axis' }, el('span', null, '60 min ago'), el('span', null, `most ${count(Math.max(...minutes.map((minute) => minute.exchanges)))}`), el('span', null, 'now')));
  const last = minutes[minutes.length - 2];
  byId('pace').textContent = `last full minute ${count(last.exchanges)}`;
}

function paintFlying() {
  const rows = front.in_flight;
    byId('flying-count').textContent = count(front.totals.in_flight);
  const now = front.health.now_us;
  byId('flying').replaceChildren(...rows.slice(0, 16).map((row) => el('li', null, row.agent || 'unknown agent', el('small', null, row.model_asked || '', ' ', duration(Math.max(now - row.accepted_at_us, 0))))));
}

function paintHealth() {
  const { health } = front;
  const { writer, cores } = health;
  const sum = (name) => cores.reduce((n, core) => n + core[name], 0);
  const rows = [
    ['gateway', `${health.version}${health.draining ? ', draining' : ''}`, health.draining],
    ['up for', duration(Math.max(health.now_us - health.started_at_us, 0))],
    ['cores', `${cores.length} on ${health.driver}`],
    ['connections', count(sum('connections_open'))],
    ['rings', `${count(sum('ring_records'))} records, ${bytes(sum('ring_capture_bytes'))} of bodies waiting`],
    ['writer', writer.failing ? writer.last_error : `${duration(writer.lag_us)} behind, ${count(writer.batches)} batches`, writer.failing],
    ['index', writer.index_behind === 0 ? 'up to date' : `${count(writer.index_behind)} blocks behind`],
    ['stored', writer.bytes_stored > 0 ? `${bytes(writer.bytes_stored)} from ${bytes(writer.bytes_raw)} (${(writer.bytes_raw / writer.bytes_stored).toFixed(1)} to 1)` : 'nothing yet'],
    ['bodies shed', count(writer.shed_total), writer.shed_total > 0],
    ['providers', health.providers.join(', ') || 'none: set a key, or try weir demo', health.providers.length === 0],
  ];
  byId('health').replaceChildren(...rows.flatMap(([name, value, bad]) => [el('dt', null, name), el('dd', { class: bad ? 'bad' : undefined }, value)]));
}

async function paintGroups() {
  const third = front.viewer.sees_everybody && !wanted().get('principal') ? ['principal', 'People'] : ['tool', 'Tools'];
  byId('third-title').textContent = third[1];
  for (const [by, place] of [['model', 'by-model'], ['agent', 'by-agent'], [third[0], 'by-tool']]) {
    try {
      paintBars(byId(place), by, await ask(`/api/usage?${filters(true, { by })}`));
    } catch { /* the next round asks again */ }
  }
}

function paintBars(place, by, rows) {
  rows = rows.filter((row) => by !== 'tool' || row.key).slice(0, 6);
  // Tools repeat the exchange's tokens; what counts for them is calls.
  const much = (row) => (by === 'tool' ? row.tool_calls : (row.input_tokens || 0) + (row.output_tokens || 0));
  const unit = by === 'tool' ? 'calls' : 'tokens';
  rows.sort((a, b) => much(b) - much(a));
  const most = Math.max(...rows.map(much), 1);
  place.replaceChildren(...rows.map((row) => {
    const bar = el('span');
    bar.style.width = `${(100 * much(row)) / most}%`;
    return el('button', { type: 'button', title: `only ${row.key || 'unknown'}`, onclick: () => row.key && go({ [by]: row.key }) },
      el('span', { class: 'key' }, row.key || 'unknown'), el('span', { class: 'much' }, `${brief(much(row))} ${unit}`),
      el('span', { class: 'much' }, money(row.cost_nanodollars, row.cost_unknown)),
      el('span', { class: 'much count' }, brief(row.exchanges), ' req'), el('div', { class: 'track' }, bar));
  }));
  if (rows.length === 0) place.replaceChildren(el('p', { class: 'none' }, 'none yet'));
}

// ---- exchanges ------------------------------------------------------------------------------------------------

async function list(mine) {
  const rows = await ask(`/api/requests?${filters(true, { limit: PAGE_ROWS })}`);
  if (mine !== begun) return;
  byId('rows').replaceChildren(...rows.map((row) => line(row)));
  after(rows);
  follow(Math.max(0, ...rows.map((row) => row.cursor)));
}

function after(rows) {
  if (rows.length > 0) oldest = rows[rows.length - 1].cursor;
  byId('older').hidden = rows.length < PAGE_ROWS;
  const none = byId('none');
  none.hidden = byId('rows').children.length > 0;
  none.textContent = filters(true).size > 0 ? 'Nothing fits these filters.' : 'No exchange yet. Point a client here, below.';
}

async function older() {
  const rows = await ask(`/api/requests?${filters(true, { limit: PAGE_ROWS, before: oldest })}`);
  byId('rows').append(...rows.map((row) => line(row)));
  after(rows);
}

function follow(cursor) {
  if (tail) tail.close();
  const live = byId('live');
  const say = (on, words) => { live.className = on ? 'live on' : 'live'; live.textContent = words; };
  const query = filters(false, cursor > 0 ? { after: cursor } : {});
  tail = new EventSource(`/api/tail?${query}`);
  tail.onopen = () => say(true, 'live');
  tail.onerror = () => say(false, 'reconnecting');
  tail.onmessage = (event) => {
    const rows = byId('rows');
    const made = line(JSON.parse(event.data));
    made.classList.add('fresh');
    rows.prepend(made);
    byId('none').hidden = true;
    // Whoever reads further down asked for those rows; they stay.
    while (scrollY < 300 && rows.children.length > ROWS_MAX) rows.lastChild.remove();
  };
}

function line(row) {
  const model = row.model || row.model_asked || '';
  const asked = row.model && row.model_asked && row.model !== row.model_asked && el('span', { class: 'asked' }, `asked ${row.model_asked}`);
  const tools = row.tools.slice(0, 3).map((name) => el('span', { class: 'tool' }, short(name, 22)));
  const more = row.tool_calls > tools.length && row.tools.length > 3 ? ` +${row.tools.length - 3}` : '';
  const open = () => go({ show: row.id });
  return el('tr', { tabindex: 0, onclick: open, onkeydown: (event) => event.key === 'Enter' && open() },
    el('td', { class: 'dim c-time' }, time(row.accepted_at_us)),
    el('td', { class: 'c-who' }, row.principal),
    el('td', { class: 'c-agent', title: row.agent_version || undefined }, row.agent || el('span', { class: 'dim' }, 'unknown')),
    el('td', { class: 'mono c-session', title: row.session || undefined }, row.session.slice(0, 8)),
    el('td', { class: 'c-model', title: model }, model || el('span', { class: 'dim' }, short(row.path, 28)), asked),
    el('td', { class: 'n c-in' }, count(row.input_tokens)),
    el('td', { class: 'n dim c-cache' }, row.cache_read_tokens ? count(row.cache_read_tokens) : ''),
    el('td', { class: 'n c-out' }, count(row.output_tokens)),
    el('td', { class: 'c-tools' }, ...tools, more),
    el('td', { class: 'c-outcome' }, badge(row.outcome, row.fault, row.status)),
    el('td', { class: 'n dim c-took' }, duration(row.duration_us)));
}

// ---- settings lines -------------------------------------------------------------------------------------------

async function clients() {
  const all = await ask('/api/settings-lines');
  const open = (client) => {
    for (const tab of byId('clients').children) tab.setAttribute('aria-pressed', String(tab.textContent === client.name));
    byId('setup').replaceChildren(...(client.shell ? [el('p', null, 'in a shell'), code(client.shell)] : []), ...client.files.flatMap((file) => [el('p', null, `for good, in ~/${file.path}`), code(file.content)]), el('p', null, client.note));
  };
  byId('clients').replaceChildren(...all.map((client) => el('button', { type: 'button', onclick: () => open(client) }, client.name)));
  open(all[0]);
}

// ---- begin ----------------------------------------------------------------------------------------------------

let begun = 0;
let shown = '';

function begin() {
  const query = wanted();
  byId('ranges').replaceChildren(...RANGES.map(([value, words]) => el('button', { type: 'button', 'aria-pressed': String((query.get('since') || '') === value), onclick: () => go({ since: value }) }, words)));
  const set = FILTERS.filter((name) => query.get(name));
  byId('filters').hidden = set.length === 0;
  byId('filters').replaceChildren(...set.map((name) => el('button', { type: 'button', title: 'remove this filter', onclick: () => go({ [name]: '' }) }, `${name} ${short(query.get(name), 40)}`)));
  const id = query.get('show');
  if (id) show(id, () => wanted().get('show') && go({ show: '' }));
  else hide();
  // Opening an exchange is no new question about the rest.
  const question = String(filters(true));
  if (begun > 0 && question === shown) return;
  shown = question;
  round = 0;
  look();
  list(++begun).catch((why) => { byId('trouble').textContent = why.message; byId('trouble').hidden = false; });
}

byId('older').addEventListener('click', older);
addEventListener('popstate', begin);
begin();
clients();
setInterval(look, 2000);
})();
