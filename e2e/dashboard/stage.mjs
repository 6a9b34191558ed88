// What a scenario works with: a hub, and the browser's contexts and pages.
import assert from "node:assert/strict";
import { FAR, PATIENCE, Watch } from "./browser.mjs";
import { Hub } from "./hub.mjs";

export class Stage extends Hub {
  #browser;
  #watch = new Watch();
  #contexts = [];
  #visited = new Set();
  #step = "it begins";
  #measured = {};

  constructor(browser, { url, origin, token }, ask) {
    super(url, token);
    this.#browser = browser;
    // Where the browser calls the hub.
    this.origin = origin;
    this.ask = ask;
    this.isFar = new URL(origin).hostname === FAR;
  }

  // Says what comes next, for the message of a failure.
  now(step) {
    this.#step = step;
  }

  step() {
    return this.#step;
  }

  // Keeps how long something took, in milliseconds: for people to read, never to pass or fail.
  measured(what, began) {
    this.#measured[what] = Math.round(performance.now() - began);
  }

  // What a scenario did, for the test that started it.
  summary() {
    return { origin: this.origin, pages: this.visited(), measured_ms: this.#measured };
  }

  // A browser with cookies of its own. `script: false` switches JavaScript off.
  async context({ script = true, ...options } = {}) {
    const context = await this.#browser.newContext({
      baseURL: this.origin,
      javaScriptEnabled: script,
      ignoreHTTPSErrors: true,
      reducedMotion: "reduce",
      acceptDownloads: true,
      ...options,
    });
    context.setDefaultTimeout(PATIENCE);
    await this.#watch.over(context);
    context.on("page", (page) => {
      page.on("framenavigated", (frame) => this.#visited.add(new URL(frame.url(), this.origin).pathname));
    });
    this.#contexts.push(context);
    return context;
  }

  // A page of a new context, or of one that is there.
  async page(options = {}) {
    const context = options.context ?? (await this.context(options));
    return context.newPage();
  }

  pages() {
    return this.#contexts.flatMap((context) => context.pages());
  }

  visited() {
    return [...this.#visited].filter((path) => path !== "blank").sort();
  }

  expecting(statuses, part) {
    return this.#watch.expecting(statuses, part);
  }

  away(part) {
    return this.#watch.away(part);
  }

  // Closes the contexts; fails if the browser complained.
  async end() {
    this.now("it has ended");
    for (const context of this.#contexts) await context.close();
    this.#watch.verify();
  }
}

// Waits until a function answers something other than null, undefined and false; it is asked again and again.
export async function until(what, ask) {
  const deadline = Date.now() + PATIENCE;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    assert.ok(Date.now() < deadline, `in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
