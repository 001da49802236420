// Elements and texts. Everything that came from outside enters the page as text: there is no innerHTML anywhere.
const build = (() => {
'use strict';

/** An element: `el('td', {class: 'n', onclick: f}, 'text', child, …)`. */
function el(name, fields, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(fields || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith('on')) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? '' : value);
  }
  made.append(...children.filter((child) => child !== undefined && child !== null && child !== false));
  return made;
}

function svg(name, fields, ...children) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(fields || {})) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const byId = (id) => document.getElementById(id);

const whole = new Intl.NumberFormat('en-US');

/** 12,345 — or a dash where nobody knows. */
const count = (n) => (n === null || n === undefined ? '–' : whole.format(n));

/** Nanodollars as dollars: cents, or more digits where it is little; a plus where some cost is unknown. */
function money(nanodollars, unknown) {
  if (nanodollars === null || nanodollars === undefined) return unknown ? '?' : '–';
  const dollars = nanodollars / 1e9;
  const digits = dollars === 0 || dollars >= 0.01 ? 2 : 6;
  return `$${dollars.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits })}${unknown ? '+' : ''}`;
}

/** 12.3k, 4.56M: three digits and a unit. */
function brief(n) {
  if (n === null || n === undefined) return '–';
  for (const [unit, size] of [['T', 1e12], ['G', 1e9], ['M', 1e6], ['k', 1e3]]) {
    if (n >= size * 0.9995) return `${(n / size).toPrecision(3)}${unit}`.replace(/(\.\d*?)0+(\D)$/, '$1$2').replace(/\.(\D)$/, '$1');
  }
  return whole.format(n);
}

function bytes(n) {
  for (const [unit, size] of [['GiB', 2 ** 30], ['MiB', 2 ** 20], ['KiB', 2 ** 10]]) {
    if (n >= size) return `${(n / size).toFixed(n >= size * 100 ? 0 : 1)} ${unit}`;
  }
  return `${count(n)} B`;
}

function duration(us) {
  if (us === null || us === undefined) return '–';
  if (us < 1000) return `${us} µs`;
  if (us < 1e6) return `${(us / 1e3).toFixed(us < 1e4 ? 1 : 0)} ms`;
  if (us < 6e7) return `${(us / 1e6).toFixed(us < 1e7 ? 2 : 1)} s`;
  const s = Math.round(us / 1e6);
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

const two = (n) => String(n).padStart(2, '0');

/** Time of day, with the day where it is not today. */
function time(us) {
  const at = new Date(us / 1000);
  const clock = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  const today = at.toDateString() === new Date().toDateString();
  return today ? clock : `${two(at.getMonth() + 1)}-${two(at.getDate())} ${clock}`;
}

const short = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

function percent(part, all) {
  if (!(all > 0)) return '';
  const of = (100 * part) / all;
  if (of > 0 && of < 0.1) return '<0.1 %';
  return `${of.toFixed(of > 0 && (of < 10 || (of > 99 && of < 100)) ? 1 : 0)} %`;
}

const BADGES = {
  ok: ['', 'ok'], refused: ['warn', 'refused'], client_gone: ['warn', 'client gone'], truncated: ['bad', 'truncated'],
  provider_error: ['bad', 'provider error'], gateway_fault: ['bad', 'gateway fault'], gateway_lost: ['bad', 'gateway lost'],
};

function badge(outcome, fault, status) {
  const [kind, words] = BADGES[outcome] || ['bad', outcome];
  const text = outcome === 'provider_error' && status ? `${words} ${status}` : words;
  return el('span', { class: `badge ${kind}`, title: fault || undefined }, text);
}

/** JSON from the API; a problem becomes an error with its words. */
async function ask(path) {
  const answer = await fetch(path, { headers: { accept: 'application/json' }, cache: 'no-store' });
  if (answer.ok) return answer.json();
  const problem = await answer.json().catch(() => ({}));
  throw new Error([problem.title || `status ${answer.status}`, problem.detail].filter(Boolean).join(': '));
}

/** Text with a button that copies it. */
function code(text) {
  const button = el('button', { type: 'button', onclick: copy }, 'copy');
  async function copy() {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = 'copied';
    } catch {
      // Not a secure origin: mark it, so that a key press copies it.
      getSelection().selectAllChildren(pre);
      button.textContent = 'marked';
    }
    setTimeout(() => { button.textContent = 'copy'; }, 1500);
  }
  const pre = el('pre', null, text);
  return el('div', { class: 'code' }, pre, button);
}

return { el, svg, byId, count, brief, money, bytes, duration, time, short, percent, badge, ask, code };
})();
