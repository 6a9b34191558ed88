// What changed at the hub, heard over one connection for all tabs of a browser: the seventh stream over HTTP/1.1 would
// wait for ever. Pages load this file as a script, and where there is a SharedWorker it runs there too.
'use strict';

// Follows /dashboard/events, asks why where it ends, and begins again. `tell` gets what it learns:
// {kind: 'change', silo, revision}, {kind: 'reset'}, {kind: 'state', state: 'up' | 'lost' | 'away' | 'out'}.
class SiloStream {
  constructor(tell) {
    this.tell = tell;
    this.state = 'new';
    this.revision = 0;
    this.changes = new Map();
    this.wait = 500;
  }

  // Begins, or goes on if it is not open; a page that shows `revision` is told what is newer.
  follow(revision) {
    if (!this.revision) this.revision = revision;
    if (!this.source && !this.timer) this.open();
  }

  newer(revision) {
    return [...this.changes].filter(([, at]) => at > revision);
  }

  open() {
    this.timer = 0;
    const source = new EventSource('/dashboard/events?after=' + this.revision);
    this.source = source;
    source.onopen = () => {
      this.wait = 500;
      this.become('up');
    };
    const changed = (event) => {
      const { id, revision } = JSON.parse(event.data);
      this.reach(Number(event.lastEventId) || revision);
      if (this.changes.size > 5000) this.changes.clear();
      this.changes.set(id, revision);
      this.tell({ kind: 'change', silo: id, revision });
    };
    source.addEventListener('silo', changed);
    source.addEventListener('deleted', changed);
    source.addEventListener('reset', (event) => {
      this.revision = JSON.parse(event.data).revision;
      this.tell({ kind: 'reset' });
    });
    source.onerror = () => {
      this.close();
      this.ask();
    };
  }

  reach(revision) {
    if (revision > this.revision) this.revision = revision;
  }

  // Asks why there is no stream, then tries again.
  async ask() {
    const answer = await changesAfter(this.revision);
    this.become(answer.state === 'up' ? this.state : answer.state);
    if (answer.state === 'out') return;
    // Together with the others after a restart would be too much at once.
    this.timer = setTimeout(() => this.open(), this.wait * (0.5 + Math.random() / 2));
    this.wait = Math.min(this.wait * 2, 8000);
  }

  become(state) {
    if (state === this.state) return;
    this.state = state;
    this.tell({ kind: 'state', state });
  }

  close() {
    if (this.source) this.source.close();
    this.source = null;
    clearTimeout(this.timer);
    this.timer = 0;
  }
}

// The changes after a revision, or why there is no answer.
async function changesAfter(revision) {
  try {
    const answer = await fetch('/dashboard/changes?after=' + revision, { redirect: 'manual', cache: 'no-store' });
    if (answer.ok) return { state: 'up', ...(await answer.json()) };
    if (answer.status === 503) return { state: 'away' };
    const isOut = answer.type === 'opaqueredirect' || answer.status === 401 || answer.status === 403;
    return { state: isOut ? 'out' : 'lost' };
  } catch {
    return { state: 'lost' };
  }
}

if (typeof SharedWorkerGlobalScope !== 'undefined' && self instanceof SharedWorkerGlobalScope) {
  const ports = new Set();
  const stream = new SiloStream((news) => ports.forEach((port) => port.postMessage(news)));
  self.onconnect = ({ ports: [port] }) => {
    ports.add(port);
    port.onmessage = ({ data }) => {
      if (data.kind === 'bye') {
        ports.delete(port);
        if (!ports.size) stream.close();
        return;
      }
      // Another session may have begun.
      if (stream.state === 'out') stream.state = 'new';
      stream.newer(data.revision).forEach(([silo, revision]) => port.postMessage({ kind: 'change', silo, revision }));
      stream.follow(data.revision);
      if (stream.state !== 'new') port.postMessage({ kind: 'state', state: stream.state });
    };
  };
}
