// Live updates and small comforts. Every page and form works without this script.
'use strict';
(() => {
  const root = document.documentElement;
  const page = document.currentScript.dataset;
  root.classList.add('script');

  // A notice is for once: it does not come again with the page.
  const url = new URL(location.href);
  if (url.searchParams.has('notice')) {
    url.searchParams.delete('notice');
    history.replaceState(null, '', url);
  }

  // Copy buttons. `navigator.clipboard` does not exist on http:// to another host.
  const copied = document.createElement('span');
  copied.className = 'visually-hidden';
  copied.setAttribute('role', 'status');
  document.body.append(copied);

  async function copy(element) {
    const text = element.value ?? element.textContent;
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      const selection = getSelection();
      if (element.select) element.select();
      else selection.selectAllChildren(element);
      return document.execCommand('copy');
    }
  }

  document.addEventListener('click', async (event) => {
    const button = event.target.closest('[data-copy]');
    if (button) {
      const isDone = await copy(document.getElementById(button.dataset.copy));
      copied.textContent = isDone ? 'Copied' : 'Selected; copy it with the keyboard';
      button.classList.toggle('done', isDone);
      setTimeout(() => {
        button.classList.remove('done');
        copied.textContent = '';
      }, 1600);
    }
    document.querySelectorAll('details.menu[open]').forEach((menu) => {
      if (!menu.contains(event.target)) menu.open = false;
    });
  });
  document.addEventListener('keydown', (event) => {
    const menu = event.key === 'Escape' && document.querySelector('details.menu[open]');
    if (menu) {
      menu.open = false;
      menu.querySelector('summary').focus();
    }
  });
  // What is chosen in a list of filters holds at once.
  document.addEventListener('change', (event) => {
    if (event.target.matches('select[data-submit]')) event.target.form.requestSubmit();
  });

  // Times say how long ago they are; the words are those of the server (`when.rs`).
  const STEPS = [[60, 'min', 'min'], [60, 'h', 'h'], [24, 'day', 'days'], [30, 'month', 'months'], [12, 'year', 'years']];
  function inWords(seconds) {
    const isAhead = seconds < 0;
    let number = Math.abs(seconds);
    if (number < 45) return isAhead ? 'in a moment' : 'just now';
    let words = '';
    for (const [size, one, many] of STEPS) {
      if (words && number < size) break;
      number = Math.max(1, Math.floor(number / size));
      words = number + ' ' + (number === 1 ? one : many);
    }
    return isAhead ? 'in ' + words : words + ' ago';
  }
  function renewTimes() {
    // As the hub's clock has it.
    const now = Date.now() + skew;
    document.querySelectorAll('time[data-when]').forEach((time) => {
      const words = inWords((now - Date.parse(time.dateTime)) / 1000);
      if (time.textContent !== words) time.textContent = words;
    });
  }
  const skew = page.now ? Number(page.now) - Date.now() : 0;
  setInterval(renewTimes, 20000);

  // Live fragments ------------------------------------------------------------------------------------------------

  const fragments = () => [...document.querySelectorAll('[data-live][id]')];
  if (!fragments().length) return;

  // Makes an element equal to another one in place, so that focus, selection, typed text and open details stay.
  function morph(old, next) {
    if (old.isEqualNode(next) || isKept(old)) return;
    const isChanged = old.dataset.version !== next.dataset.version;
    for (const { name } of [...old.attributes]) {
      if (!next.hasAttribute(name) && name !== 'open') old.removeAttribute(name);
    }
    for (const { name, value } of next.attributes) {
      if (name !== 'open' && old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    if (isChanged) fade(old);
    morphChildren(old, next);
  }

  function morphChildren(old, next) {
    const keyed = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
    const wanted = new Set([...next.children].map((child) => child.id));
    let place = old.firstChild;
    for (const child of [...next.childNodes]) {
      while (place && place.id && !wanted.has(place.id)) place = drop(place);
      const same = child.id ? keyed.get(child.id) : place;
      const fits = same && same.nodeName === child.nodeName && (child.id || '') === (same.id || '');
      if (!fits) {
        old.insertBefore(child, place);
        if (child.dataset && child.dataset.version) fade(child);
        continue;
      }
      if (same !== place) old.insertBefore(same, place);
      else place = place.nextSibling;
      if (same.nodeType === Node.ELEMENT_NODE) morph(same, child);
      else if (same.data !== child.data) same.data = child.data;
    }
    while (place) place = drop(place);
  }

  // A form that is being filled in: what others change meanwhile is told when it is sent.
  const isKept = (node) => node.dataset && node.dataset.keep !== undefined;

  function drop(node) {
    const after = node.nextSibling;
    if (!isKept(node)) node.remove();
    return after;
  }

  function fade(element) {
    element.classList.remove('changed');
    element.classList.add('changed');
    element.addEventListener('animationend', () => element.classList.remove('changed'), { once: true });
  }

  // Fetches the page and takes over its fragments: at once after a change, and while changes go on, not all the time.
  const PAUSE = 500;
  let isRunning = false;
  let isAsked = false;
  async function refresh() {
    isAsked = true;
    if (isRunning) return;
    isRunning = true;
    while (isAsked) {
      isAsked = false;
      await load();
      await new Promise((done) => setTimeout(done, PAUSE));
    }
    isRunning = false;
  }

  async function load() {
    try {
      // A form that was refused is the answer to a POST: its page can't be fetched.
      const from = page.path || location.pathname + location.search;
      const answer = await fetch(from, { redirect: 'manual', cache: 'no-store', headers: { Accept: 'text/html' } });
      if (answer.type === 'opaqueredirect') return show('out');
      if (answer.status === 503) return show('away');
      if (answer.status === 404) return show('gone');
      if (!answer.ok) return;
      const next = new DOMParser().parseFromString(await answer.text(), 'text/html');
      const active = document.activeElement;
      for (const fragment of fragments()) {
        const other = next.getElementById(fragment.id);
        if (other) morph(fragment, document.adoptNode(other));
      }
      // Moving a node takes the focus away.
      if (active !== document.activeElement && active.isConnected) active.focus({ preventScroll: true });
      renewTimes();
      if (shown === 'away' || shown === 'gone') show('up');
    } catch {
      show('lost');
    }
  }

  const concerns = (silo) => fragments().some(({ dataset: { live } }) => live === 'all' || live === 'silo:' + silo);

  const banner = document.createElement('div');
  banner.className = 'connection';
  banner.setAttribute('role', 'status');
  banner.hidden = true;
  document.body.append(banner);
  const WORDS = {
    lost: 'The hub does not answer. This page is not up to date; trying again…',
    away: 'The hub’s database does not answer. This page may be out of date, and nothing can be changed.',
    out: 'You are signed out. Load the page to sign in.',
    gone: 'What this page shows was deleted.',
    up: 'Connected again.',
  };
  let shown = 'up';
  function show(state) {
    if (state === shown) return;
    const wasDown = shown !== 'up';
    shown = state;
    banner.textContent = WORDS[state];
    banner.hidden = false;
    if (state === 'up') {
      if (wasDown) refresh();
      setTimeout(() => { if (shown === 'up') banner.hidden = true; }, 4000);
    }
  }

  function hear(news) {
    if (news.kind === 'change' && concerns(news.silo)) refresh();
    if (news.kind === 'reset') refresh();
    if (news.kind === 'state') show(news.state);
  }

  // One stream for all tabs: a SharedWorker has it, or the tab that leads; else each tab asks every 5 s.
  const revision = Number(page.revision) || 0;
  let leave = () => {};
  function begin() {
    if (typeof SharedWorker !== 'undefined') {
      const { port } = new SharedWorker(page.worker, 'silo');
      port.onmessage = ({ data }) => hear(data);
      port.postMessage({ revision });
      leave = () => port.postMessage({ kind: 'bye' });
    } else if (typeof BroadcastChannel !== 'undefined' && typeof EventSource !== 'undefined') {
      leave = lead();
    } else {
      leave = poll();
    }
  }

  const BEAT = 1000;
  const TAKE_OVER = 3000;
  function lead() {
    const channel = new BroadcastChannel('silo');
    const me = Math.random();
    let leads = false;
    // The tab that signs in again leads, not one of the session that has ended.
    let isOut = false;
    const hearHere = (news) => {
      if (news.state === 'out') isOut = true;
      if (isOut) leads = false;
      hear(news);
    };
    const stream = new SiloStream((news) => {
      channel.postMessage(news);
      hearHere(news);
    });
    // A tab that is already there answers at once.
    let heard = Date.now() - TAKE_OVER + 400;
    channel.postMessage({ kind: 'who', revision });
    channel.onmessage = ({ data }) => {
      if (data.kind === 'who') {
        if (!leads) return;
        beat();
        stream.newer(data.revision).forEach(([silo, at]) => channel.postMessage({ kind: 'change', silo, revision: at }));
      } else if (data.kind === 'beat') {
        heard = Date.now();
        stream.reach(data.revision);
        if (leads && data.from < me) {
          leads = false;
          stream.close();
        }
        if (!leads) {
          isOut = false;
          show(data.state);
        }
      } else if (data.kind === 'bye') {
        heard = 0;
      } else {
        hearHere(data);
      }
    };
    const beat = () => channel.postMessage({ kind: 'beat', from: me, state: shown, revision: stream.revision });
    const timer = setInterval(() => {
      if (!leads && !isOut && Date.now() - heard > TAKE_OVER) {
        leads = true;
        stream.follow(revision);
      }
      if (leads) beat();
    }, BEAT / 2 + me * BEAT / 2);
    return () => {
      clearInterval(timer);
      stream.close();
      if (leads) channel.postMessage({ kind: 'bye' });
      channel.close();
    };
  }

  function poll() {
    let known = revision;
    const timer = setInterval(async () => {
      const answer = await changesAfter(known);
      show(answer.state);
      // Nothing is asked for a session that has ended.
      if (answer.state === 'out') clearInterval(timer);
      if (answer.state !== 'up') return;
      known = answer.revision;
      if (answer.reset || answer.changes.some(({ id }) => concerns(id))) refresh();
    }, 5000);
    return () => clearInterval(timer);
  }

  begin();
  addEventListener('pagehide', () => leave());
  addEventListener('pageshow', (event) => {
    if (!event.persisted) return;
    begin();
    refresh();
  });
  // What changes without an event, such as what agents have applied.
  const every = Math.min(...fragments().map(({ dataset: { refresh: seconds } }) => Number(seconds) || Infinity));
  if (every !== Infinity) setInterval(() => { if (!document.hidden && shown === 'up') refresh(); }, every * 1000);
})();
