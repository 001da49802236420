// Quotas: what each bucket holds, what running exchanges have reserved of it, how it refills. Hidden where there are none.
const quotas = (() => {
'use strict';

const { ask, brief, byId, el } = build;

const ROWS_MAX = 24;
const SPANS = { 1: 's', 60: 'min', 3600: 'hour', 86400: 'day', 604800: 'week', 2592000: 'month' };

/** Amounts come in the smallest parts of their unit; money in nanodollars. */
function amount(parts, unit) {
  if (unit !== 'dollars') return `${parts < 0 ? '-' : ''}${brief(Math.abs(parts))} ${unit}`;
  const dollars = Math.abs(parts) / 1e9;
  return `${parts < 0 ? '-' : ''}$${dollars.toFixed(dollars !== 0 && dollars < 0.1 ? 4 : 2)}`;
}

function refills(row) {
  if (!row.rate || !row.rate_seconds) return 'never refills';
  const span = SPANS[row.rate_seconds] || `${row.rate_seconds} s`;
  return `+ ${amount(row.rate, row.unit)}/${span}`;
}

/** What is left, what is reserved, and what is gone, as one bar. */
function bar(row) {
  const part = (n) => `${Math.min(Math.max((100 * n) / Math.max(row.capacity, 1), 0), 100)}%`;
  const left = el('span', { class: 'left' });
  left.style.width = part(row.balance - row.reserved);
  const held = el('span', { class: 'held' });
  held.style.width = part(row.reserved);
  return el('div', { class: 'track' }, left, held);
}

function paintRow(row) {
  const empty = row.balance - row.reserved <= 0;
  return el('li', { class: empty ? 'empty' : '' },
    el('span', { class: 'key', title: row.bucket }, row.bucket),
    el('span', { class: 'much' }, `${amount(row.balance, row.unit)} of ${amount(row.capacity, row.unit)}`),
    el('small', null, row.reserved > 0 ? `${amount(row.reserved, row.unit)} reserved` : '', empty ? ` ${row.on_exceed}` : ''),
    el('small', { class: 'rate' }, refills(row)), bar(row));
}

/** The emptiest first: those are what somebody looks for. */
async function paint() {
  let rows;
  try {
    rows = await ask('/api/quotas');
  } catch {
    return; // the next round asks again
  }
  const full = (row) => (row.balance - row.reserved) / Math.max(row.capacity, 1);
  rows.sort((a, b) => full(a) - full(b) || a.bucket.localeCompare(b.bucket));
  byId('quotas-panel').hidden = rows.length === 0;
  byId('quotas-count').textContent = rows.length > ROWS_MAX ? `emptiest ${ROWS_MAX} of ${rows.length}` : '';
  byId('quotas').replaceChildren(...rows.slice(0, ROWS_MAX).map(paintRow));
}

return { paint };
})();
