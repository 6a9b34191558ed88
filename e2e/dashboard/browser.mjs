// Debian's Chromium, driven by Playwright, and a watch over everything that its pages complain about.
//
// SILO_NPM is the folder with the packages (scripts/npm-packages). Nothing that a browser reports is overlooked: an error
// on the console, a violation of the Content-Security-Policy, an exception, a request that failed and an answer of 400 or
// more are problems, unless the scenario has said that it expects them.
import { createRequire } from "node:module";

const require = createRequire(`${process.env.SILO_NPM}/`);
const { chromium } = require("playwright-core");
export const axeSource = require("axe-core").source;

// How long something may take to come true before a scenario fails, in milliseconds. Not how long it should take.
export const PATIENCE = 30_000;

// A name that only the browser knows, so that a page of http:// is no secure context.
export const FAR = "hub.test";

export function launch() {
  return chromium.launch({
    executablePath: process.env.SILO_CHROMIUM ?? "/usr/bin/chromium",
    // Chromium refuses root unless its sandbox is off.
    chromiumSandbox: process.getuid() !== 0,
    args: [`--host-resolver-rules=MAP ${FAR} 127.0.0.1`],
  });
}

// What the pages of a scenario complained about, and what it expects.
export class Watch {
  #problems = [];
  // Messages of the console about a request that did not load come before or after the request's own event.
  #unloaded = [];
  #known = new Set();
  #statuses = [];
  #away = 0;

  // Watches over all pages of a context, also those that are opened later.
  async over(context) {
    await context.addInitScript(() => {
      addEventListener("securitypolicyviolation", (event) => {
        console.error(`policy violation: ${event.violatedDirective} blocks ${event.blockedURI || "inline"}`);
      });
    });
    context.on("weberror", (error) => this.#add(`exception: ${error.error().stack}`));
    context.on("console", (message) => this.#console(message));
    context.on("requestfailed", (request) => {
      const why = request.failure()?.errorText ?? "";
      this.#known.add(request.url());
      // What the page itself gave up, such as the stream of a page that is left.
      if (why === "net::ERR_ABORTED" || this.#away) return;
      this.#add(`${request.method()} ${request.url()} failed: ${why}`);
    });
    context.on("response", (response) => {
      const status = response.status();
      if (status < 400) return;
      this.#known.add(response.url());
      if (this.#statuses.some((expected) => expected.includes(status))) return;
      if (this.#away && status >= 500) return;
      this.#add(`${response.request().method()} ${response.url()} answered ${status}`);
    });
  }

  #console(message) {
    const [type, text, url] = [message.type(), message.text(), message.location().url];
    if (type !== "error" && type !== "warning") return;
    if (text.startsWith("Failed to load resource")) return void this.#unloaded.push([url, text]);
    // The hub sends the header whatever the scheme is; browsers say that it needs a secure context.
    if (text.includes("Cross-Origin-Opener-Policy header has been ignored") && url.startsWith(`http://${FAR}`)) return;
    if (this.#away && text.includes("net::ERR_")) return;
    this.#add(`console: ${text} (${url})`);
  }

  #add(problem) {
    this.#problems.push(problem);
  }

  // Runs a part during which answers may have one of these statuses.
  async expecting(statuses, part) {
    this.#statuses.push(statuses);
    try {
      return await part();
    } finally {
      this.#statuses.splice(this.#statuses.indexOf(statuses), 1);
    }
  }

  // Runs a part during which the hub, or its database, may not answer.
  async away(part) {
    this.#away += 1;
    try {
      return await part();
    } finally {
      this.#away -= 1;
    }
  }

  // Fails if there was a problem.
  verify() {
    const unloaded = this.#unloaded.filter(([url]) => !this.#known.has(url)).map(([url, text]) => `${text} (${url})`);
    const problems = [...new Set([...this.#problems, ...unloaded])];
    if (problems.length) throw new Error(`the browser complains:\n  ${problems.join("\n  ")}`);
  }
}
